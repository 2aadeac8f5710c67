"""The base of the cpu image: wrong use and an existing image are refused before anything is made."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "containers" / "debian-base.sh"


@pytest.mark.parametrize("arguments", [[], ["base"], ["a.sif", "b.sif"]])
def test_one_image_file_is_asked_for(tmp_path: Path, arguments: list[str]) -> None:
    done = subprocess.run([str(PROGRAM), *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"what: arguments: '{' '.join(arguments)}'\nwhy:  ")
    assert list(tmp_path.iterdir()) == []


def test_an_image_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "base.sif"
    path.write_text("in use")
    done = subprocess.run([str(PROGRAM), str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"what: {path} exists\n" in done.stderr
    assert path.read_text() == "in use"


def test_a_machine_without_the_programs_is_told_which(tmp_path: Path) -> None:
    """Standing in: a PATH that has the shell's own programs only. The script itself adds where Debian's lie."""
    text = PROGRAM.read_text().replace(":/usr/local/sbin:/usr/sbin:/sbin", "").replace("((EUID == 0))", "true")
    copy = tmp_path / "debian-base.sh"
    copy.write_text(text)
    for name in ("bash", "realpath"):
        found = subprocess.run(["which", name], capture_output=True, text=True, check=True).stdout.strip()
        (tmp_path / name).symlink_to(found)
    argv = [str(tmp_path / "bash"), str(copy), "x.sif"]
    done = subprocess.run(argv, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert done.stderr.splitlines()[0] == "what: apptainer is not installed"


@pytest.mark.parametrize(("account", "code"), [("", 1), ("user:" + "word@", 3)])
def test_a_password_of_a_mirror_does_not_enter_the_image(tmp_path: Path, account: str, code: int) -> None:
    """Standing in: an apt-get that names one source, and a debootstrap that fails, so that nothing is made."""
    folder, keyring = tmp_path / "bin", tmp_path / "keyring"
    folder.mkdir()
    keyring.touch()
    text = (
        PROGRAM.read_text()
        .replace("((EUID == 0))", "true")
        .replace("/usr/share/keyrings/debian-archive-keyring.gpg", str(keyring))
    )
    (tmp_path / "debian-base.sh").write_text(text)
    says = {"apptainer": "exit 9", "debootstrap": "exit 9",
            "apt-get": f"echo Debian http://{account}mirror.invalid/a@b bookworm"}  # fmt: skip
    for name, line in says.items():
        (folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / name).chmod(0o755)
    done = subprocess.run(
        ["bash", str(tmp_path / "debian-base.sh"), str(tmp_path / "x.sif")],
        env=os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    said = "debootstrap failed" if code == 1 else "an apt source holds a user and password"
    assert f"what: {said}\n" in done.stderr
    assert "word" not in done.stderr.replace("password", "")
