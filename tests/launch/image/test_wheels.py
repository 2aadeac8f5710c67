"""The locked packages, as files with their digests."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.small_image import tiny_wheel
from tests.launch.image.fake_apptainer import FakeApptainer, finished
from trackyard.errors import EnvironmentLacking, TrackyardError
from trackyard.launch.image.wheels import collect_wheels
from trackyard.runner import SystemRunner


def test_pip_itself_collects_what_the_lock_pins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "requirements.lock").write_text("# comment\ntiny==1.0\n")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tiny_wheel(tmp_path / "here").parent))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    (tmp_path / "w").mkdir()
    assert collect_wheels(tmp_path, tmp_path / "w", SystemRunner()) == 1
    name = "tiny-1.0-py3-none-any.whl"
    digest = hashlib.sha256((tmp_path / "w" / name).read_bytes()).hexdigest()
    assert (tmp_path / "w" / "SHA256SUMS").read_text() == f"{digest}  {name}\n"


class Nothing(FakeApptainer):
    def __init__(self, code: int) -> None:
        super().__init__()
        self.code = code

    def run(self, argv: Sequence[str], **_: Any) -> Any:
        return finished(argv, "", self.code, "no matching distribution")


@pytest.mark.parametrize("code", [0, 1])
def test_nothing_collected_is_a_failure(tmp_path: Path, code: int) -> None:
    (tmp_path / "w").mkdir()
    with pytest.raises(TrackyardError, match=f"ended with {code}, 0 wheels: no matching") as raised:
        collect_wheels(tmp_path, tmp_path / "w", Nothing(code))
    assert "--build-arg WHEELS=DIR" in raised.value.fix
    assert not (tmp_path / "w" / "SHA256SUMS").exists()


def test_what_an_image_compiles_is_brought_as_source_with_what_torch_brings(tmp_path: Path) -> None:
    """torch in the version of the lock with the libraries that its build names; then the lock; then the sources."""

    class Bringing(Nothing):
        def run(self, argv: Sequence[str], **_: Any) -> Any:
            asked.append(list(argv)[3:])
            (folder / ("a-1.tar.gz" if "download" in argv else "b-1-py3-none-any.whl")).write_text("x")
            return finished(argv, "", 0, "")

    asked: list[list[str]] = []
    folder = tmp_path / "w"
    folder.mkdir()
    lock, sources = tmp_path / "requirements.lock", tmp_path / "train.lock"
    lock.write_text("tiny==1.0\ntorch==2.13.0\n")
    assert collect_wheels(tmp_path, folder, Bringing(0), sources=sources) == 2
    common = ["--quiet", "--disable-pip-version-check"]
    assert asked == [
        ["wheel", *common, "--wheel-dir", str(folder), "--constraint", str(lock), "torch==2.13.0"],
        ["wheel", *common, "--wheel-dir", str(folder), "--no-deps", "--requirement", str(lock)],
        ["download", *common, "--dest", str(folder), "--no-deps", "--no-binary=:all:", "--require-hashes",
         "--requirement", str(sources)],
    ]  # fmt: skip
    assert [line.split()[1] for line in (folder / "SHA256SUMS").read_text().splitlines()] == [
        "a-1.tar.gz",
        "b-1-py3-none-any.whl",
    ]


def test_wheels_of_another_python_are_not_collected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 12, 1, "final", 0))
    asked = FakeApptainer()
    with pytest.raises(EnvironmentLacking, match=r"this is Python 3\.12; the images have 3\.11") as raised:
        collect_wheels(tmp_path, tmp_path, asked)
    assert "make setup PYTHON=python3.11" in raised.value.fix
    assert asked.calls == []
