"""Several cells at once: what they do is done, what fails is told, and none outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from tests.processes import all_end, is_alive
from trackyard.errors import ConfigError, TrackyardError
from trackyard.recipes.running.side_by_side import VISIBLE, places, side_by_side

ROOT = Path(__file__).parents[3]


def note(folder: Path, item: int) -> None:
    """Write which process did it, and on which device."""
    (folder / str(item)).write_text(f"{os.getpid()} {os.environ.get(VISIBLE)}")
    # Until the other one has begun too, if there is another.
    until = time.monotonic() + 60
    while len(list(folder.iterdir())) < 2 and time.monotonic() < until:
        time.sleep(0.01)


def fail_on_odd(folder: Path, item: int) -> None:
    if item % 2:
        raise ConfigError(what=f"item {item}", why="odd", fix="another")
    (folder / str(item)).write_text("")


def die(_folder: Path, item: int) -> None:
    if item == 1:
        os.kill(os.getpid(), signal.SIGKILL)


def test_two_places_are_two_processes_with_a_device_each(tmp_path: Path) -> None:
    side_by_side(partial(note, tmp_path), [1, 2], ["3", "5"])
    told = [(tmp_path / str(item)).read_text().split() for item in (1, 2)]
    assert len({pid for pid, _ in told} | {str(os.getpid())}) == 3
    assert [device for _, device in told] == ["3", "5"]


def test_one_place_or_one_item_stays_in_this_process(tmp_path: Path) -> None:
    (tmp_path / "begun").write_text("")
    side_by_side(partial(note, tmp_path), [1, 2], [None])
    side_by_side(partial(note, tmp_path), [3], [None, None])
    assert {(tmp_path / str(item)).read_text().split()[0] for item in (1, 2, 3)} == {str(os.getpid())}


def test_all_are_tried_and_the_first_error_is_raised_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"item [13]   \(and 1 more of 5 failed\)"):
        side_by_side(partial(fail_on_odd, tmp_path), [0, 1, 2, 3, 4], [None, None])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "2", "4"]


def test_a_killed_process_is_no_success(tmp_path: Path) -> None:
    with pytest.raises(TrackyardError, match="the process for 1 ended with exit code -9"):
        side_by_side(partial(die, tmp_path), [0, 1], [None, None])


ORPHANS = """
import sys, time
from functools import partial
from pathlib import Path
from trackyard.recipes.running.side_by_side import side_by_side

def wait(folder, item):
    import os
    (folder / f"pid-{os.getpid()}").write_text("")
    time.sleep(60)

side_by_side(partial(wait, Path(sys.argv[1])), [1, 2], [None, None])
"""


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGINT])
def test_none_outlives_a_parent_that_is_ended(tmp_path: Path, by: signal.Signals) -> None:
    parent = subprocess.Popen([sys.executable, "-c", ORPHANS, str(tmp_path)], cwd=ROOT)
    until = time.monotonic() + 120
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < until:
        time.sleep(0.02)
    children = [int(path.name.removeprefix("pid-")) for path in tmp_path.iterdir()]
    assert len(children) == 2
    assert all(is_alive(pid) for pid in children)
    parent.send_signal(by)
    parent.wait(timeout=120)
    assert all_end(children, within_s=120)


def test_a_cpu_has_as_many_places_as_its_threads_allow() -> None:
    cores = len(os.sched_getaffinity(0))
    assert places(1) == [None] * cores
    assert places(cores + 1) == [None]
