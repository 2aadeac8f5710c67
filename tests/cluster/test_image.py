"""A real image, built by a real Apptainer: proved, refused when anything about it changes, and entered."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests.cluster.small_image import NAME, SmallImage, git, small_image
from tests.processes import words_of
from trackyard.launch.image.entering import Bind, Entering, entering_argv, entering_environment
from trackyard.launch.image.lock_file import IMAGE_LOCK, read_lock, relock
from trackyard.runner import SystemRunner

__all__ = ["small_image"]
pytestmark = pytest.mark.system
COMMAND = [sys.executable, "-m", "trackyard"]
LIMIT_S = 120.0


def trackyard(root: Path, *words: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *words], cwd=root, env=os.environ | (environment or {}), capture_output=True, text=True, check=False,
        timeout=LIMIT_S,
    )  # fmt: skip


def entering(image: SmallImage, *command: str, **given: object) -> Entering:
    values: dict[str, object] = {"image": image.path, "digest": image.locked.digest, "command": command,
                                 "workdir": image.root, "gpus": False}  # fmt: skip
    return Entering(**(values | given))  # type: ignore[arg-type]


@pytest.fixture
def copy(small_image: SmallImage, tmp_path: Path) -> SmallImage:
    """Of the checkout, with an image of its own to damage."""
    root = tmp_path / "root"
    shutil.copytree(small_image.root, root)
    return replace(small_image, root=root, path=root / "containers" / small_image.path.name)


def test_verify_proves_the_image_and_stops_at_what_is_not_so(copy: SmallImage) -> None:
    root, good = copy.root, (copy.root / IMAGE_LOCK).read_text()
    proved = trackyard(root, "image", "verify", NAME)
    assert proved.returncode == 0, proved
    assert "small: proved: 0 of 6 checks failed" in proved.stdout

    def wrong(*said: str) -> None:
        found = trackyard(root, "image", "verify", NAME)
        assert found.returncode == 1, found
        assert "small: NOT proved: 1 of 6 checks failed" in found.stdout
        assert not [text for text in said if text not in found.stdout], found.stdout

    with open(copy.path, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))
    wrong("FAIL file", "is not the image that")
    with open(copy.path, "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(last)
    (root / "requirements.lock").write_text("tiny==1.1\n")
    wrong("FAIL package lock", "requirements.lock has sha256", "trackyard image build small")
    (root / "requirements.lock").write_text("tiny==1.0\n")
    (root / IMAGE_LOCK).write_text(good.replace(copy.locked.base.digest, "sha256:" + "0" * 64))
    wrong("FAIL labels", "base.digest")
    (root / IMAGE_LOCK).write_text(good)
    assert trackyard(root, "image", "verify", NAME).returncode == 0


def test_verify_stops_at_a_missing_label(copy: SmallImage) -> None:
    """The lock is made to speak of another real image, which has none of the labels: every byte is as locked."""
    data = copy.base.read_bytes()
    copy.path.write_bytes(data)
    locked = copy.locked.model_copy(update={"sif_sha256": hashlib.sha256(data).hexdigest(), "sif_bytes": len(data)})
    relock(copy.root, NAME, locked)
    found = trackyard(copy.root, "image", "verify", NAME)
    assert found.returncode == 1, found
    assert "OK   file" in found.stdout
    (failed,) = [line for line in found.stdout.splitlines() if line.startswith("FAIL labels")]
    assert "lacks the labels" in failed
    assert "org.trackyard.lock" in failed


def test_nothing_of_the_hosts_python_is_seen_inside(small_image: SmallImage, tmp_path: Path) -> None:
    """A poisoned package in the user's site, one on PYTHONPATH, and one handed to apptainer itself (pains 13)."""
    site = tmp_path / "home" / ".local" / "lib" / "python3.11" / "site-packages"
    site.mkdir(parents=True)
    (site / "tiny.py").write_text("ANSWER = 'poisoned'\n")
    (site / "usercustomize.py").write_text("raise SystemExit('poisoned')\n")
    poison = {
        "HOME": str(tmp_path / "home"), "PYTHONUSERBASE": str(tmp_path / "home" / ".local"), "PYTHONPATH": str(site),
        "APPTAINERENV_PYTHONPATH": str(site), "APPTAINER_BIND": f"{site}:/usr/lib/python3.11/poison",
    }  # fmt: skip
    code = "import json, sys, tiny; print(json.dumps([sys.path, tiny.ANSWER, tiny.__file__]))"
    clean, poisoned = (
        trackyard(small_image.root, "image", "exec", NAME, "--", "python", "-c", code, environment=given)
        for given in ({}, {"COLUMNS": "80"} | poison)
    )
    assert clean.returncode == poisoned.returncode == 0, poisoned
    path, answer, file = json.loads(clean.stdout)
    assert json.loads(poisoned.stdout) == [path, answer, file]
    assert path[1] == str(small_image.root / "src")
    assert (answer, file) == (42, "/usr/local/venv/lib/python3.11/site-packages/tiny.py")
    # The control: what the clean line keeps out does get in without it.
    bare = subprocess.run(
        ["apptainer", "-q", "exec", str(small_image.path), "python", "-c", "import tiny; print(tiny.ANSWER)"],
        env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True, text=True, check=False, timeout=LIMIT_S,
    )  # fmt: skip
    assert bare.stdout.strip() == "poisoned"


VALUES = {
    "RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "node01", "MASTER_PORT": "15001",
    "SLURM_PROCID": "3", "SLURM_STEP_NODELIST": "node[01-02]", "CUDA_VISIBLE_DEVICES": "0,1", "OMP_NUM_THREADS": "2",
    "SLURM_JOB_NAME": 'a "b" $HOME `id` \\ c,d=e \'f\' \\', "TRACKYARD_TWO_LINES": "one\ntwo\\n",
    "NCCL_EMPTY": "", "NCCL_DOLLAR": "$(id)${HOME}\\$x",
}  # fmt: skip


def test_variables_arrive_as_they_are_and_exit_codes_return(small_image: SmallImage) -> None:
    code = "import json, os, sys; print(json.dumps(dict(os.environ))); sys.exit(75)"
    done = trackyard(
        small_image.root, "image", "exec", NAME, "--", "python", "-c", code, environment=VALUES | {"UNKNOWN_HERE": "1"}
    )
    assert done.returncode == 75, done
    inside = json.loads(done.stdout)
    assert {name: inside.get(name) for name in VALUES} == VALUES
    assert "UNKNOWN_HERE" not in inside
    assert inside["TRACKYARD_IMAGE_DIGEST"] == small_image.locked.digest
    assert inside["TRACKYARD_COMMIT"] == git(small_image.root, "rev-parse", "HEAD")


def test_read_only_binds_are_read_only_and_the_checkout_is_not(small_image: SmallImage, tmp_path: Path) -> None:
    for name in ("data", "work"):
        (tmp_path / name).mkdir()
    bind = Bind(source=tmp_path / "data", target=Path("/data"), read_only=True)
    inside = entering(
        small_image, "sh", "-c", "touch here && ! touch /data/there", workdir=tmp_path / "work", binds=(bind,)
    )
    done = SystemRunner().run(entering_argv(inside), env=entering_environment(inside, os.environ), timeout_s=LIMIT_S)
    assert done.exit_code == 0, done
    assert "Read-only file system" in done.stderr
    assert (tmp_path / "work" / "here").exists()
    assert not list((tmp_path / "data").iterdir())


def test_secrets_arrive_and_stand_in_no_command_line_and_signals_reach_the_payload(
    small_image: SmallImage, tmp_path: Path
) -> None:
    secret = "open-" + "sesame-0123456789"
    code = (
        "import os, pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))\n"
        "pathlib.Path('told').write_text(os.environ['MLFLOW_TRACKING_PASSWORD'])\n"
        "time.sleep(100)"
    )
    inside = entering(small_image, "python", "-c", code, workdir=tmp_path,
                      environment={"MLFLOW_TRACKING_PASSWORD": secret})  # fmt: skip
    host = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_PASSWORD"}
    child = subprocess.Popen(entering_argv(inside), env=entering_environment(inside, host))
    try:
        limit = time.monotonic() + LIMIT_S
        told = tmp_path / "told"
        while time.monotonic() < limit and not (told.exists() and told.read_text()):
            time.sleep(0.05)
        assert told.read_text() == secret
        words = [word for process in psutil.process_iter() for word in words_of(process)]
        assert any("MLFLOW_TRACKING_PASSWORD" in word for word in words), "the payload itself is among them"
        assert not [word for word in words if secret in word]
        child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=LIMIT_S) == 75
    finally:
        child.kill()
        child.wait()


def test_an_image_from_elsewhere_is_taken_over(copy: SmallImage, tmp_path: Path) -> None:
    brought = copy.path.rename(tmp_path / "brought.sif")
    git(copy.root, "checkout", "--", str(IMAGE_LOCK))
    assert read_lock(copy.root).images == {}
    refused = trackyard(copy.root, "image", "exec", NAME, "--", "true")
    assert refused.returncode == 3, refused
    assert "has no image 'small'" in refused.stderr
    done = trackyard(copy.root, "image", "lock", NAME, "--from", str(brought), "--json")
    assert done.returncode == 0, done
    assert json.loads(done.stdout)["sif_sha256"] == copy.locked.sif_sha256
    assert trackyard(copy.root, "image", "verify", NAME).returncode == 0
    assert json.loads(trackyard(copy.root, "image", "sbom", NAME).stdout)["bomFormat"] == "CycloneDX"
