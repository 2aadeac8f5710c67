"""Apptainer's own parser reads the shipped definitions. Nothing is fetched: the base that is asked for is nowhere.

What Apptainer cannot parse stops with "Unable to build from"; what it can, with the conveyor that finds no base.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from trackyard.launch.image.definition import read_definition

pytestmark = pytest.mark.skipif(shutil.which("apptainer") is None, reason="apptainer is not installed")

ROOT = Path(__file__).resolve().parents[2]
PARSED = "conveyor failed to get: "
NO_BASE = {"CUDA_NAME": "127.0.0.1:9/none", "BASE": "none.sif"}
"""Nothing listens there; no such file is there."""


def asked(definition: Path, work: Path, arguments: dict[str, str]) -> str:
    """What Apptainer says, which never ends well."""
    argv = ["apptainer", "build", "--force", "--fakeroot"]
    for name, value in arguments.items():
        argv += ["--build-arg", f"{name}={value}"]
    places = {"APPTAINER_TMPDIR": str(work), "APPTAINER_CACHEDIR": str(work / "cache"), "APPTAINER_NO_MOUNT": "tmp"}
    done = subprocess.run(
        [*argv, str(work / "image.sif"), str(definition)], cwd=ROOT, env=os.environ | places, capture_output=True,
        text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 255
    assert not (work / "image.sif").exists()
    return next(line for line in done.stderr.splitlines() if line.startswith("FATAL:"))


def given(name: str) -> tuple[Path, dict[str, str]]:
    path = ROOT / "containers" / f"{name}.def"
    definition = read_definition(path)
    impossible = {key: value for key, value in NO_BASE.items() if key in definition.accepted}
    assert impossible
    return path, dict.fromkeys(definition.required, "x") | impossible


@pytest.mark.parametrize("name", ["cpu", "train"])
def test_it_reads_a_shipped_definition(tmp_path: Path, name: str) -> None:
    path, arguments = given(name)
    assert PARSED in asked(path, tmp_path, arguments)


@pytest.mark.parametrize("name", ["cpu", "train"])
def test_it_needs_exactly_the_arguments_that_we_read(tmp_path: Path, name: str) -> None:
    path, arguments = given(name)
    lacking = dict(arguments)
    lacking.pop("VERSION")
    assert "build var VERSION is not defined" in asked(path, tmp_path, lacking)
    assert "OTHER" in asked(path, tmp_path, arguments | {"OTHER": "1"})


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("%runscript", "%runscripts", "invalid section(s) specified: runscripts"),
        ("{{ BASE_DIGEST }}\nStage: image", "{{ DIGEST_OF_BASE }}\nStage: image", "DIGEST_OF_BASE is not defined"),
    ],
)
def test_it_refuses_a_definition_that_is_broken(tmp_path: Path, old: str, new: str, told: str) -> None:
    path, arguments = given("train")
    text = path.read_text()
    assert old in text
    broken = tmp_path / "train.def"
    broken.write_text(text.replace(old, new, 1))
    said = asked(broken, tmp_path, arguments)
    assert told in said
    assert PARSED not in said
