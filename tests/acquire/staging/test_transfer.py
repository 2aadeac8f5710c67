"""Copying with the real rsync: parts that a kill left are continued, wrong ones repaired, nothing wrong gets a name."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from trackyard.acquire.staging.journal import Journal
from trackyard.acquire.staging.transfer import INCOMING, Copier, Copy
from trackyard.acquire.staging.work import Watch
from trackyard.digest import digest_bytes
from trackyard.errors import DataError, StoppedEarly, TrackyardError
from trackyard.runner import Finished, SystemRunner

pytestmark = pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
NAMES = {"big": 400_000, "deep/er/a b.jpg": 900, "-rf": 10, "new\nline": 5}


class Recording:
    """Runs the real program and remembers how. after: done to the incoming folder once it has ended."""

    def __init__(self, incoming: Path, after: Any = None) -> None:
        self.argvs: list[Sequence[str]] = []
        self.timeouts: list[float] = []
        self._incoming, self._after = incoming, after

    def run(self, argv: Sequence[str], **options: Any) -> Finished:
        self.argvs.append(argv)
        self.timeouts.append(options["timeout_s"])
        finished = SystemRunner().run([*argv[:1], "--stats", *argv[1:]], **options)
        if self._after is not None:
            self._after(self._incoming)
        return finished


@pytest.fixture
def copies(tmp_path: Path) -> list[Copy]:
    for number, (name, size) in enumerate(NAMES.items()):
        path = tmp_path / "a" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes((number + position) % 251 for position in range(size)))
    return [
        Copy(path=f"molmo/{name}", source=tmp_path / "a", target=tmp_path / "b", relative=name, bytes=size)
        for name, size in NAMES.items()
    ]


def _copier(tmp_path: Path, runner: Any, **watch: Any) -> Copier:
    journal = Journal(tmp_path / "record", "x")
    return Copier(name="test", runner=runner, watch=Watch(streams=2, **watch), journal=journal)


def _right(tmp_path: Path) -> bool:
    return all((tmp_path / "b" / name).read_bytes() == (tmp_path / "a" / name).read_bytes() for name in NAMES)


def test_names_of_any_kind_arrive_and_are_journalled(tmp_path: Path, copies: list[Copy]) -> None:
    runner = Recording(tmp_path / "b" / INCOMING)
    copier = _copier(tmp_path, runner)
    copier.run(copies)
    assert _right(tmp_path)
    assert (copier.copied_files, copier.copied_bytes) == (4, sum(NAMES.values()))
    assert not (tmp_path / "b" / INCOMING).exists()
    assert copier.journal.done["molmo/big"].blake3 == digest_bytes((tmp_path / "a/big").read_bytes())
    assert runner.argvs[0][0] == "rsync"
    assert "--append-verify" in runner.argvs[0]
    assert not {"-z", "--compress", "--append", "--inplace"} & set(runner.argvs[0])
    assert min(runner.timeouts) >= 600
    again = _copier(tmp_path, runner)
    again.run(copies)
    assert (again.copied_files, len(runner.argvs)) == (0, 2)


def test_of_a_cut_file_only_the_rest_is_sent(tmp_path: Path, copies: list[Copy]) -> None:
    part = tmp_path / "b" / INCOMING / "big"
    part.parent.mkdir(parents=True)
    part.write_bytes((tmp_path / "a/big").read_bytes()[:300_000])
    sent: list[str] = []

    class Listening:
        def run(self, argv: Sequence[str], **options: Any) -> Finished:
            finished = SystemRunner().run([argv[0], "--stats", *argv[1:]], **options)
            sent.append(next(line for line in finished.stdout.splitlines() if line.startswith("Literal data")))
            return finished

    _copier(tmp_path, Listening()).run(copies[:1])
    assert sent == ["Literal data: 100,000 bytes"]
    assert (tmp_path / "b/big").read_bytes() == (tmp_path / "a/big").read_bytes()


@pytest.mark.parametrize("size", [1000, 400_000, 400_700])
def test_a_wrong_part_is_repaired(tmp_path: Path, copies: list[Copy], size: int) -> None:
    part = tmp_path / "b" / INCOMING / "big"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"w" * size)
    _copier(tmp_path, SystemRunner()).run(copies)
    assert _right(tmp_path)


def test_a_file_that_is_at_its_place_already_is_proved_and_not_sent(tmp_path: Path, copies: list[Copy]) -> None:
    runner = Recording(tmp_path / "b" / INCOMING)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    copier = _copier(tmp_path, runner)
    copier.run(copies)
    assert (copier.copied_files, runner.argvs) == (0, [])
    shutil.rmtree(tmp_path / "record")
    (tmp_path / "b/big").write_bytes(b"w" * NAMES["big"])  # as long, but another one
    copier = _copier(tmp_path, runner)
    copier.run(copies)
    assert copier.copied_files == 1
    assert _right(tmp_path)


def test_bytes_that_the_target_loses_never_get_a_name(tmp_path: Path, copies: list[Copy]) -> None:
    def spoil(incoming: Path) -> None:
        (incoming / "big").write_bytes(b"w" * NAMES["big"])

    with pytest.raises(DataError, match=r"1 files did not arrive .*/b/big"):
        _copier(tmp_path, Recording(tmp_path / "b" / INCOMING, spoil)).run(copies[:1])
    assert not (tmp_path / "b/big").exists()
    _copier(tmp_path, SystemRunner()).run(copies)
    assert _right(tmp_path)


def test_a_file_that_vanishes_at_the_source_is_named(tmp_path: Path, copies: list[Copy]) -> None:
    (tmp_path / "a/-rf").unlink()
    with pytest.raises(DataError, match=r"/a/-rf"):
        _copier(tmp_path, SystemRunner()).run(copies)


def test_what_rsync_says_is_passed_on(tmp_path: Path, copies: list[Copy]) -> None:
    class Failing:
        def run(self, argv: Sequence[str], **_: Any) -> Finished:
            return Finished(argv=tuple(argv), exit_code=11, stdout="", stderr="No space left on device", seconds=0.0)

    with pytest.raises(TrackyardError, match="exit code 11: No space left on device"):
        _copier(tmp_path, Failing()).run(copies)


def test_a_signal_to_rsync_during_a_stop_is_a_stop(tmp_path: Path, copies: list[Copy]) -> None:
    stopping = False

    class Signalled:
        def run(self, argv: Sequence[str], **_: Any) -> Finished:
            nonlocal stopping
            stopping = True
            return Finished(argv=tuple(argv), exit_code=20, stdout="", stderr="received SIGTERM", seconds=0.0)

    with pytest.raises(StoppedEarly):
        _copier(tmp_path, Signalled(), should_stop=lambda: stopping).run(copies)


def test_a_torn_journal_line_is_cut_off(tmp_path: Path, copies: list[Copy]) -> None:
    copier = _copier(tmp_path, SystemRunner())
    copier.run(copies)
    path = next((tmp_path / "record").iterdir())
    path.write_bytes(path.read_bytes()[:-7])
    journal = Journal(tmp_path / "record", "x")
    assert len(journal.done) == 3
    journal.add([copier.journal.done[next(iter(set(copier.journal.done) - set(journal.done)))]])
    assert Journal(tmp_path / "record", "x").done == copier.journal.done
    assert not Journal(tmp_path / "record", "another source").done
