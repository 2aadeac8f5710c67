"""A push is off by default, sends only what a dry run has shown, and goes on after a kill."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.publish.hub_server import COMMIT, REPO, SECRET, Hub, files
from trackyard.errors import ConfigError, DataError
from trackyard.publish.checksums import CHECKSUMS, write_checksums
from trackyard.publish.upload import TOKEN
from trackyard.recipes.publishing.pushing import push_folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "params.yaml").write_text("{}\n")
    return tmp_path / "repository"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "out"
    (made / "vae").mkdir(parents=True)
    rng = np.random.default_rng(0)
    (made / "README.md").write_text("# A card\n")
    (made / "model.safetensors").write_bytes(rng.standard_normal(300_000).astype(np.float32).tobytes())
    (made / "vae" / "weights.safetensors").write_bytes(rng.standard_normal(200_000).astype(np.float32).tobytes())
    write_checksums(made)
    (made / "lineage.json").write_text("{}\n")
    return made


def test_a_push_follows_its_dry_run(hub: Hub, folder: Path, root: Path) -> None:
    said: list[str] = []
    with pytest.raises(ConfigError, match="no dry run has shown these files") as caught:
        push_folder(folder, REPO, root, said.append, endpoint=hub.url, really=True)
    assert caught.value.fix == f"trackyard publish push {folder} --repo {REPO} --endpoint {hub.url}"
    push_folder(folder, REPO, root, said.append, endpoint=hub.url)
    assert hub.seen == []
    names = [line.split()[-1] for line in said if line.startswith("   ") and "trackyard" not in line]
    assert names == ["README.md", CHECKSUMS, "lineage.json", "model.safetensors", "vae/weights.safetensors"]
    assert any(f"would go to {hub.url}/{REPO}, private; nothing was sent" in line for line in said)
    assert any("searched" in line and "absolute paths" in line for line in said)
    push_folder(folder, REPO, root, said.append, endpoint=hub.url, really=True)
    assert hub.commits == [files(folder)]
    assert COMMIT in said[-1]
    assert SECRET not in "\n".join(said)


def test_a_command_that_is_proposed_can_be_run(hub: Hub, folder: Path, root: Path) -> None:
    """Also where the name of the folder holds a space."""
    said: list[str] = []
    folder = folder.rename(folder.with_name("two words"))
    push_folder(folder, REPO, root, said.append, endpoint=hub.url)
    command = shlex.split(said[-1].partition("--really")[0])
    assert command == ["trackyard", "publish", "push", str(folder), "--repo", REPO, "--endpoint", hub.url]


def test_other_bytes_another_hub_and_other_readers_need_another_dry_run(hub: Hub, folder: Path, root: Path) -> None:
    def push(**chosen: object) -> None:
        push_folder(folder, REPO, root, lambda line: None, **{"endpoint": hub.url, **chosen})  # type: ignore[arg-type]

    push()
    for chosen in ({"public": True}, {"endpoint": "http://127.0.0.1:9"}):
        with pytest.raises(ConfigError, match="no dry run"):
            push(really=True, **chosen)
    (folder / "lineage.json").write_text('{"of": "another"}\n')
    with pytest.raises(ConfigError, match="no dry run"):
        push(really=True)
    assert hub.seen == []
    push()
    push(really=True)
    assert len(hub.commits) == 1


def test_a_folder_that_is_not_as_it_was_exported(hub: Hub, folder: Path, root: Path) -> None:
    def refused(match: str) -> None:
        with pytest.raises(DataError, match=match):
            push_folder(folder, REPO, root, lambda line: None, endpoint=hub.url)

    (folder / "notes.txt").write_text("mine\n")
    refused("notes.txt was added")
    (folder / "notes.txt").unlink()
    (folder / "README.md").write_text("# Another card\n")
    refused("README.md was changed")
    (folder / "README.md").unlink()
    refused("README.md is missing")
    (folder / CHECKSUMS).unlink()
    refused("does not exist")


@pytest.mark.parametrize("name", ["README.md", "config.json", "model.safetensors"])
def test_a_path_of_this_machine_is_not_published(hub: Hub, folder: Path, root: Path, name: str) -> None:
    """Also in the header of a file of weights, and although its digest is the one that was exported."""
    if name == "model.safetensors":
        from safetensors.numpy import save_file

        save_file({"w": np.zeros(3, np.float32)}, folder / name, metadata={"from": f"{root}/artifacts/x"})
    else:
        (folder / name).write_text(f'{{"from": "{root}/artifacts/x"}}\n')
    write_checksums(folder)
    with pytest.raises(DataError) as caught:
        push_folder(folder, REPO, root, lambda line: None, endpoint=hub.url)
    assert caught.value.what == f"{name} holds an absolute path of this machine"
    assert str(root) not in str(caught.value)


@pytest.mark.parametrize("at", ["the second file", "the commit"])
def test_a_killed_push_goes_on_where_it_was(hub: Hub, folder: Path, root: Path, at: str) -> None:
    """kill -9 while the second large file is on its way: nothing is to be seen, and the first is not sent again; and
    after the commit, before its answer: it is not made a second time."""
    environment = os.environ | {TOKEN: SECRET, "HF_HUB_DISABLE_XET": "1"}
    environment.pop("HF_HUB_OFFLINE", None)
    command = [sys.executable, "-m", "trackyard", "publish", "push", str(folder), "--repo", REPO, "--endpoint", hub.url]

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *more], cwd=root, env=environment, capture_output=True, text=True, check=False, timeout=120
        )

    shown = run()
    assert shown.returncode == 0, shown.stderr
    assert hub.seen == []
    if at == "the commit":
        hub.holds_commits = True
    else:
        hub.hold_after = 1
    process = subprocess.Popen(
        [*command, "--really"], cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        assert hub.holding.wait(60), f"{at} never came"
    finally:
        process.send_signal(signal.SIGKILL)
        told, _ = process.communicate(timeout=30)
    assert SECRET.encode() not in told
    assert (len(hub.puts), len(hub.commits)) == ((2, 1) if at == "the commit" else (1, 0))
    hub.hold_after = 10**9
    hub.release.set()
    again = run("--really")
    assert again.returncode == 0, again.stderr
    assert hub.commits == [files(folder)]
    assert set(hub.puts.values()) == {1}
    assert len(hub.puts) == 2
    assert SECRET not in again.stdout + again.stderr + shown.stdout
    assert {token for _, _, token in hub.seen} <= {"", f"Bearer {SECRET}"}
