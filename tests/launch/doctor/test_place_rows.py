"""Rows about where things are written: locks, file systems, room, age on scratch, the clock, the code."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import trackyard
from tests.launch.doctor.asking import CLUSTER, asking, late_answer, mounted
from trackyard.acquire.places import Room
from trackyard.errors import ConfigError, EnvironmentLacking
from trackyard.exclusive import LOCKS_VARIABLE
from trackyard.launch import room as room_module
from trackyard.launch.doctor import clock, code, locking, storing
from trackyard.launch.doctor.asked import Wanted
from trackyard.launch.doctor.locking import Works, locks_work
from trackyard.launch.preflight import Seen, Skipped, Warned
from trackyard.record.code import COMMIT_VARIABLE, DIRTY_VARIABLE

ALL = Works(flock="", fcntl="", link="")
NO_FLOCK = Works(flock="No locks available", fcntl="", link="")
NO_LINKS = Works(flock="", fcntl="", link="Operation not permitted")
NONE = Works(flock="No locks available", fcntl="No locks available", link="Operation not permitted")
LINKED = "[core]\n    hardlink_lock = true\n"
DAY = 86_400


def giving(works: Works) -> Callable[[Path], Works]:
    return lambda directory: works


def with_dvc(root: Path, config: str = "") -> Path:
    (root / ".dvc" / "tmp").mkdir(parents=True)
    (root / ".dvc" / "config").write_text(config)
    return root


def test_locks_are_really_tried_here(tmp_path: Path) -> None:
    assert locks_work(tmp_path / "runs") == ALL
    assert list((tmp_path / "runs").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentLacking, match="no file can be made"):
        locks_work(tmp_path / "file")


def test_a_lock_that_lets_a_second_owner_in_does_not_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fcntl.flock", lambda *_: None)
    monkeypatch.setattr("fcntl.fcntl", lambda *_: None)
    works = locks_work(tmp_path)
    assert (works.flock, works.fcntl, works.link) == ("a second owner is let in", "a second owner is let in", "")


def test_locks_of_runs(tmp_path: Path) -> None:
    local = asking(tmp_path)
    assert locking.runs_row(local, giving(ALL)).detail == "runs/: flock, fcntl, links work"
    with pytest.raises(EnvironmentLacking, match="flock: No locks available") as raised:
        locking.runs_row(local, giving(NO_FLOCK))
    assert raised.value.fix == f"export {LOCKS_VARIABLE}=link (and `locks: link` in sites/here.yaml)"
    with pytest.raises(EnvironmentLacking) as raised:
        locking.runs_row(local, giving(NONE))
    assert raised.value.fix == "work in a checkout on another file system"


@pytest.mark.parametrize("changed", [{"environment": {LOCKS_VARIABLE: "link"}}, {"locks": "link"}])
def test_locks_of_runs_by_link(tmp_path: Path, changed: dict[str, object]) -> None:
    asked = asking(tmp_path, **changed)  # type: ignore[arg-type]
    assert locking.runs_row(asked, giving(NO_FLOCK)).detail.endswith("taken as hard links")
    with pytest.raises(EnvironmentLacking, match="are to be hard links") as raised:
        locking.runs_row(asked, giving(NO_LINKS))
    assert raised.value.fix.startswith(f"unset {LOCKS_VARIABLE}")


@pytest.mark.parametrize(
    ("kind", "options", "fails"),
    [
        ("lustre", "rw,flock", False),
        ("lustre", "rw,localflock", True),
        ("nfs", "rw,local_lock=all", True),
        ("nfs4", "rw,local_lock=none", False),
        ("gpfs", "rw", False),
        ("beegfs", "rw", True),
    ],
)
def test_flock_that_ends_at_its_host_is_told_where_there_are_several(
    tmp_path: Path, kind: str, options: str, fails: bool
) -> None:
    table = mounted(tmp_path, kind, options)
    if fails:
        with pytest.raises(EnvironmentLacking, match="of one host only"):
            locking.runs_row(asking(tmp_path, site=CLUSTER), giving(ALL), table)
    else:
        locking.runs_row(asking(tmp_path, site=CLUSTER), giving(ALL), table)
    locking.runs_row(asking(tmp_path), giving(ALL), table)


def test_locks_of_dvc(tmp_path: Path) -> None:
    with pytest.raises(Skipped, match=r"no \.dvc"):
        locking.dvc_row(asking(tmp_path), giving(ALL))
    asked = asking(with_dvc(tmp_path))
    assert locking.dvc_row(asked, giving(ALL)).detail.endswith("DVC locks by flock")
    with pytest.raises(EnvironmentLacking, match="and DVC locks by flock") as raised:
        locking.dvc_row(asked, giving(NO_FLOCK))
    assert raised.value.fix == "dvc config --local core.hardlink_lock true"
    (tmp_path / ".dvc" / "tmp" / "lock").write_text("")
    with pytest.raises(EnvironmentLacking) as raised:
        locking.dvc_row(asked, giving(NO_FLOCK))
    assert raised.value.fix == "dvc config --local core.hardlink_lock true && trackyard unlock --remove"


def test_locks_of_dvc_at_a_site_that_locks_by_link(tmp_path: Path) -> None:
    asked = asking(with_dvc(tmp_path), locks="link")
    with pytest.raises(EnvironmentLacking, match="says locks: link, and DVC locks by flock"):
        locking.dvc_row(asked, giving(ALL))
    (tmp_path / ".dvc" / "config.local").write_text(LINKED)
    assert locking.dvc_row(asked, giving(NO_FLOCK)).detail.endswith("DVC locks by hard link")


def test_flock_of_dvc_that_ends_at_its_host_is_told_where_there_are_several(tmp_path: Path) -> None:
    asked, table = asking(with_dvc(tmp_path), site=CLUSTER), mounted(tmp_path, "lustre", "rw,localflock")
    with pytest.raises(EnvironmentLacking, match=r"flock on lustre .* excludes processes of one host only") as raised:
        locking.dvc_row(asked, giving(ALL), table)
    assert raised.value.fix == "dvc config --local core.hardlink_lock true"
    assert locking.dvc_row(asked, giving(ALL), mounted(tmp_path, "lustre", "rw,flock")).examined == 3
    (tmp_path / ".dvc" / "config.local").write_text(LINKED)
    assert locking.dvc_row(asked, giving(ALL), mounted(tmp_path, "lustre", "rw,localflock")).examined == 3


def test_locks_of_dvc_by_link(tmp_path: Path) -> None:
    asked = asking(with_dvc(tmp_path, LINKED))
    with pytest.raises(EnvironmentLacking) as raised:
        locking.dvc_row(asked, giving(NO_LINKS))
    assert raised.value.fix == "dvc config --local core.hardlink_lock false"
    (tmp_path / ".dvc" / "tmp" / "lock").write_text("7\n")
    with pytest.raises(EnvironmentLacking, match=r"\.dvc/tmp/lock is there: a file of flock"):
        locking.dvc_row(asked, giving(ALL))
    (tmp_path / ".dvc" / "tmp" / "lock").write_text(str(tmp_path / ".dvc" / "tmp" / "0123.lock"))
    with pytest.raises(Warned, match="a hard link of user"):
        locking.dvc_row(asked, giving(ALL))


def test_another_way_of_locking_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="TRACKYARD_LOCKS='none'"):
        locking.runs_row(asking(tmp_path, environment={LOCKS_VARIABLE: "none"}), giving(ALL))


def test_fcntl_alone_is_a_warning(tmp_path: Path) -> None:
    with pytest.raises(Warned, match="fcntl: No locks available"):
        locking.dvc_row(asking(with_dvc(tmp_path)), giving(Works(flock="", fcntl="No locks available", link="")))


def test_the_file_system_of_runs(tmp_path: Path) -> None:
    asked = asking(tmp_path)
    assert storing.runs_row(asked, mounted(tmp_path, "gpfs")).detail.endswith(f"gpfs at {tmp_path}, shared by hosts")
    assert storing.runs_row(asked, mounted(tmp_path, "xfs")).detail.endswith(f"xfs at {tmp_path}")
    with pytest.raises(Warned, match="lies on tmpfs"):
        storing.runs_row(asked, mounted(tmp_path, "tmpfs"))


@pytest.mark.parametrize("kind", ["nfs4", "gpfs", "lustre", "beegfs"])
def test_a_tracking_database_on_a_shared_file_system_is_refused(tmp_path: Path, kind: str) -> None:
    table = mounted(tmp_path, kind)
    with pytest.raises(EnvironmentLacking, match=rf"mlflow\.db lies on {kind}") as raised:
        storing.database_row(asking(tmp_path), table)
    assert "export MLFLOW_TRACKING_URI=http" in raised.value.fix
    served = asking(tmp_path, environment={"MLFLOW_TRACKING_URI": "http://127.0.0.1:5000"})
    with pytest.raises(Skipped, match="by a server"):
        storing.database_row(served, table)
    assert storing.database_row(asking(tmp_path), mounted(tmp_path, "ext4")).detail.endswith("mlflow.db on ext4")


def test_space_against_a_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = Room(device=1, free_bytes=5 * 10**9, free_inodes=1000)
    monkeypatch.setattr(storing, "room", lambda path: free)
    monkeypatch.setattr(room_module, "room", lambda path: free)
    assert storing.space_row(asking(tmp_path)).detail.startswith("5.0 GB and 1,000 inodes free; not compared")

    def stage(size: int, files: int | None) -> Seen:
        return storing.space_row(asking(tmp_path, wanted=Wanted(name="molmo2/stage1", bytes=size, files=files)))

    assert stage(5 * 10**9, 1000).detail.endswith("molmo2/stage1 keeps 5.0 GB and 1,000 files at once")
    assert stage(1, None).detail.endswith("keeps 0.0 MB at once")
    for size, files in ((5 * 10**9 + 1, None), (1, 1001)):
        with pytest.raises(EnvironmentLacking, match="needed") as raised:
            stage(size, files)
        assert "trackyard estimate molmo2 stage1" in raised.value.fix


def purging(root: Path, **environment: str) -> dict[str, object]:
    scratch = {"path_variable": "FAST", "purged_after_days": 30}
    return {"site": {**CLUSTER, "scratch": scratch}, "environment": {"FAST": str(root), **environment}}


def aged(path: Path, days: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    os.utime(path, (time.time() - days * DAY, time.time()))


def test_the_age_of_files_on_scratch(tmp_path: Path) -> None:
    with pytest.raises(Skipped, match="purges nothing"):
        storing.scratch_row(asking(tmp_path))
    asked = asking(tmp_path, **purging(tmp_path / "fast"))  # type: ignore[arg-type]
    with pytest.raises(EnvironmentLacking, match="is no directory"):
        storing.scratch_row(asked)
    (tmp_path / "fast").mkdir()
    with pytest.raises(Skipped, match="holds no file"):
        storing.scratch_row(asked)
    aged(tmp_path / "fast" / "deep" / "new", 3)
    assert storing.scratch_row(asked).detail == "oldest access 3 of 30 days ago; 1 files examined"
    aged(tmp_path / "fast" / "deeper" / "still" / "old", 25)
    with pytest.raises(Warned, match=r"still/old was read last 25 days ago \(2 files examined\)"):
        storing.scratch_row(asked)


def test_scratch_that_nobody_names(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentLacking, match="FAST is not set"):
        storing.scratch_row(asking(tmp_path, **{**purging(tmp_path), "environment": {}}))  # type: ignore[arg-type]


def test_a_scan_ends_and_says_so(tmp_path: Path) -> None:
    for number in range(5):
        aged(tmp_path / f"{number}", number)
    (tmp_path / "out").symlink_to(tmp_path / "absent")
    found = storing.scan(tmp_path)
    assert (found.examined, found.whole, found.path.name) == (5, True, "4")
    bounded = storing.scan(tmp_path, files=2)
    assert (bounded.examined, bounded.whole) == (2, False)
    assert not storing.scan(tmp_path, seconds=-1).whole


def test_the_clock(tmp_path: Path) -> None:
    unknown, synchronised = asking(tmp_path), asking(tmp_path, {"timedatectl": "yes\n"})
    assert clock.clock_row(unknown).detail.endswith("whether it is synchronised nobody says here")
    assert clock.clock_row(synchronised).detail.endswith("; synchronised")
    late = asking(tmp_path, {"timedatectl": late_answer()})
    assert clock.clock_row(late).detail.endswith("whether it is synchronised nobody says here")
    with pytest.raises(Warned, match="not synchronised"):
        clock.clock_row(asking(tmp_path, {"timedatectl": "no\n"}))
    with pytest.raises(Warned, match=r"differ by [45]"):
        clock.clock_row(unknown, now=lambda: time.time() - 5)
    with pytest.raises(EnvironmentLacking, match="differ by 60 s"):
        clock.clock_row(unknown, now=lambda: time.time() + 60)


def test_the_code(tmp_path: Path) -> None:
    image = {COMMIT_VARIABLE: "ab" * 20}
    assert code.code_row(asking(tmp_path, environment=image)).detail.startswith("commit abababababab, nothing changed")
    with pytest.raises(Warned, match="differ from commit abababababab"):
        code.code_row(asking(tmp_path, environment={**image, DIRTY_VARIABLE: "1"}))
    with pytest.raises(EnvironmentLacking, match="no git checkout"):
        code.code_row(asking(tmp_path))


def test_code_of_another_checkout_is_told(tmp_path: Path) -> None:
    """By content: a copy of the code that runs is that code."""
    asked = asking(tmp_path, environment={COMMIT_VARIABLE: "ab" * 20})
    shutil.copytree(Path(trackyard.__file__).parent, tmp_path / "src" / "trackyard")
    assert code.code_row(asked).detail.startswith("commit abababababab")
    (tmp_path / "src" / "trackyard" / "more.py").write_text("")
    with pytest.raises(EnvironmentLacking, match="is other code"):
        code.code_row(asked)


def test_a_scan_of_folders_alone_ends_too(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert storing.scan(tmp_path).whole
    assert not storing.scan(tmp_path, seconds=-1).whole


def test_a_file_that_may_not_be_looked_at_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Forbidden:
        def is_dir(self, *, follow_symlinks: bool) -> bool:
            return False

        def stat(self, *, follow_symlinks: bool) -> os.stat_result:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(storing, "_entries", lambda where: iter([Forbidden()]))
    assert storing.scan(tmp_path).examined == 0


def test_free_space_that_is_shared_is_not_called_the_users(tmp_path: Path) -> None:
    asked = asking(tmp_path)
    (tmp_path / "runs").mkdir()
    assert "not of a quota" in storing.space_row(asked, mounted(tmp_path, "lustre")).detail
    assert "not of a quota" not in storing.space_row(asked, mounted(tmp_path, "xfs")).detail
