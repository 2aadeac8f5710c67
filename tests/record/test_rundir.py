"""The run directory: found again, counted, refused where it cannot be written or is another run's."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trackyard.errors import DataError, EnvironmentLacking, IdentityError
from trackyard.record.identity import RunSpec
from trackyard.record.rundir import RunDirectory, all_runs, open_existing, open_or_create, spooled_attempt


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a tmpfs; permission bits do not hold root back, a mount does."""
    folder = tmp_path / "mounted"
    folder.mkdir()

    def make(options: str) -> Path:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True)
        if done.returncode:
            pytest.skip(f"nothing can be mounted here: {done.stderr.decode().strip()}")
        return folder

    yield make
    if os.path.ismount(folder):
        subprocess.run(["umount", str(folder)], check=True)


def test_the_path_follows_from_the_spec(run: RunDirectory) -> None:
    assert run.path.parts[-3:] == ("molmo2", "stage2", run.spec.run_id)
    assert run.root == run.path.parent.parent.parent
    assert sorted(path.name for path in run.path.iterdir()) == ["checkpoints", "spec.json", "spool"]


def test_the_same_spec_finds_the_same_run(run: RunDirectory) -> None:
    (run.checkpoints / "x").write_text("kept")
    again = open_or_create(run.root, run.spec)
    assert again == run
    assert (again.checkpoints / "x").read_text() == "kept"
    assert open_existing(run.path) == run
    assert all_runs(run.root) == [run.path]


def test_what_others_make_below_runs_for_a_moment_is_passed_over(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A graph that is being written down, a doctor that tries locks: listed, and gone when they are looked into."""
    passing = [run.root / "jobs" / ".partial-g.1.2", run.root / ".doctor-x"]
    for path in passing:
        path.mkdir(parents=True)
    scandir = os.scandir

    def late(path: Path) -> Any:
        if Path(path) in passing:
            Path(path).rmdir()
        return scandir(path)

    monkeypatch.setattr(os, "scandir", late)
    assert all_runs(run.root) == [run.path]
    assert not any(path.exists() for path in passing), "they were looked into"


def test_attempts_are_counted(run: RunDirectory) -> None:
    numbers = [run.new_attempt().number for _ in range(3)]
    assert numbers == [1, 2, 3]
    attempts = run.attempts()
    assert [attempt.number for attempt in attempts] == numbers
    assert {attempt.pid for attempt in attempts} == {os.getpid()}
    assert attempts[0].started.endswith("+00:00")


def test_a_torn_line_hides_no_later_attempt(run: RunDirectory) -> None:
    run.new_attempt()
    with open(run.path / "attempts.jsonl", "a") as handle:
        handle.write('{"number": 2, "ho')
    assert run.new_attempt().number == 2
    assert run.new_attempt().number == 3
    assert [attempt.number for attempt in run.attempts()] == [1, 2, 3]


def test_a_number_with_a_spool_is_never_used_again(run: RunDirectory) -> None:
    (run.spool / "attempt-0012.jsonl").write_text("")
    assert spooled_attempt(run.spool / "attempt-0012.jsonl") == 12
    assert run.new_attempt().number == 13


def test_another_run_in_its_place_is_refused(run: RunDirectory, spec_of: Callable[..., RunSpec]) -> None:
    other = open_or_create(run.root, spec_of(seed=8))
    (run.path / "spec.json").write_bytes((other.path / "spec.json").read_bytes())
    with pytest.raises(IdentityError, match="seed: 8 -> 7"):
        open_or_create(run.root, run.spec)
    with pytest.raises(IdentityError, match="holds the run"):
        open_existing(run.path)


def test_a_directory_without_a_spec_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        open_existing(tmp_path)


def test_the_plan_is_linked_and_checked(run: RunDirectory, tmp_path: Path) -> None:
    plan = tmp_path / "artifacts" / "plan"
    plan.mkdir(parents=True)
    run.link_plan(plan, run.spec.plan)
    assert run.linked_plan() == plan
    assert not Path(json.loads(run.plan.read_text())["path"]).is_absolute()
    with pytest.raises(IdentityError, match="has fingerprint"):
        run.link_plan(plan, "0" * 64)
    document = json.loads(run.plan.read_text())
    run.plan.write_text(json.dumps({**document, "fingerprint": "0" * 64}))
    with pytest.raises(IdentityError, match="has fingerprint"):
        run.linked_plan()


def test_a_read_only_place_is_named(mount: Callable[[str], Path], spec_of: Callable[..., RunSpec]) -> None:
    root = mount("ro,size=64k")
    with pytest.raises(EnvironmentLacking) as raised:
        open_or_create(root, spec_of())
    assert raised.value.exit_code == 3
    assert "Read-only file system" in raised.value.what
    assert str(root) in raised.value.what
    assert "--bind" in raised.value.fix


def test_a_run_that_became_read_only_is_refused(mount: Callable[[str], Path], spec_of: Callable[..., RunSpec]) -> None:
    root = mount("size=256k")
    run = open_or_create(root, spec_of())
    subprocess.run(["mount", "-o", "remount,ro", str(root)], check=True)
    with pytest.raises(EnvironmentLacking, match="Read-only file system"):
        open_or_create(root, run.spec)
    with pytest.raises(EnvironmentLacking, match="Read-only file system"):
        run.new_attempt()
    assert open_existing(run.path) == run


def test_a_full_disk_is_named(mount: Callable[[str], Path], spec_of: Callable[..., RunSpec]) -> None:
    root = mount("size=64k")
    with open(root / "fill", "wb", buffering=0) as handle, contextlib.suppress(OSError):
        while handle.write(b"x" * 4096):
            continue
    with pytest.raises(EnvironmentLacking, match="No space left") as raised:
        open_or_create(root, spec_of())
    assert raised.value.fix.startswith("free space there")


def test_a_file_in_the_way_is_named(tmp_path: Path, spec_of: Callable[..., RunSpec]) -> None:
    (tmp_path / "runs").write_text("not a directory")
    with pytest.raises(EnvironmentLacking, match=r"Not a directory|File exists"):
        open_or_create(tmp_path / "runs", spec_of())
