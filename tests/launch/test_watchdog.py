"""Ranks that die, hang, skip or lag, as real gloo processes (reliability F26); and what the watch costs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.launch.gloo_ranks import LAG_S, LIMITS
from trackyard.launch.processes import run_processes
from trackyard.launch.watchdog import ASK, Watchdog, WatchdogParameters, stacks_file

MODULE = "tests.launch.gloo_ranks"
WITHIN_S = 90.0
"""Longest that the end of all ranks may take on a busy machine. Most of it is the import of torch."""


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    )


def _run(case: str, folder: Path) -> tuple[int, ...]:
    started = time.monotonic()
    codes = run_processes(MODULE, [case, str(folder), "watched"], processes=2).codes
    assert time.monotonic() - started < WITHIN_S
    return codes


def _stacks(folder: Path, rank: int) -> str:
    return stacks_file(folder, 1, rank).read_text()


@pytest.mark.parametrize("case", ["dies", "aborts", "sleeps", "skips", "raises"])
def test_a_rank_that_fails_ends_all_with_their_stacks(
    case: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    codes = _run(case, tmp_path)
    assert all(codes), codes
    assert not list(tmp_path.glob("done-*"))
    said = capfd.readouterr().err
    # The healthy rank says where it stood, in its file and, in three parts, on stderr.
    stack = _stacks(tmp_path, 0)
    assert "all_reduce" in stack or "barrier" in stack, stack
    assert "gloo_ranks.py" in stack
    assert "rank 0" in said
    assert "what: " in said
    assert "fix:  " in said
    if case == "dies":
        assert codes[1] == -signal.SIGKILL
        assert "a collective failed" in said
    elif case == "aborts":
        assert codes[1] == -signal.SIGABRT
        assert "Fatal Python error: Aborted" in _stacks(tmp_path, 1)
        assert "at_step_4" in _stacks(tmp_path, 1)
    elif case == "sleeps":
        assert "rank 0 has not finished step 4 of this attempt" in said
        assert "in at_step_4" in _stacks(tmp_path, 1)
    elif case == "skips":
        # It is in the barrier of the end, where the other has no part.
        assert "Thread " in _stacks(tmp_path, 1)
    else:
        assert "no feed worker has decoded" in said
        assert "no feed worker has decoded" in _stacks(tmp_path, 1)


def test_a_rank_that_lags_within_the_limit_ends_nothing(tmp_path: Path) -> None:
    assert LIMITS.at_least_s > LAG_S
    assert _run("lags", tmp_path) == (0, 0)
    assert sorted(path.name for path in tmp_path.glob("done-*")) == ["done-0", "done-1"]
    assert list((tmp_path / "stacks").iterdir()) == [], "nothing was wrong"


def test_without_the_watch_ranks_wait_on(tmp_path: Path) -> None:
    """Negative control: nobody notices that a rank sleeps, and nobody writes down where the ranks are."""
    code = "import sys; from trackyard.launch.processes import run_processes\n"
    code += f"run_processes({MODULE!r}, ['sleeps', {str(tmp_path)!r}, 'unwatched'], processes=2)"
    parent = subprocess.Popen([sys.executable, "-c", code])
    try:
        limit = time.monotonic() + WITHIN_S
        while not (tmp_path / "step-4").exists():
            assert time.monotonic() < limit
            time.sleep(0.05)
        with pytest.raises(subprocess.TimeoutExpired):
            parent.wait(timeout=3 * LIMITS.at_least_s)
    finally:
        parent.kill()  # its ranks end with it
        parent.wait()
    assert [path.name for path in tmp_path.iterdir()] == ["step-4"]


_ALONE = """
import sys, time
from pathlib import Path
from trackyard.launch.watchdog import Watchdog, WatchdogParameters
limits = WatchdogParameters(first_s=float(sys.argv[2]), at_least_s=2.0, factor=10.0)
with Watchdog(Path(sys.argv[1]), rank=0, limits=limits) as watchdog:
    for sleep in map(float, sys.argv[3:]):
        time.sleep(sleep)
        watchdog.beat()
    watchdog.beat(last=True)
    time.sleep(5.0)
print("through", len(watchdog._durations))
"""


def _alone(path: Path, first_s: float, *sleeps: float) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-c", _ALONE, str(path), str(first_s), *map(str, sleeps)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=WITHIN_S)


def test_limits_of_the_start_of_steps_and_of_the_end(tmp_path: Path) -> None:
    # The start may take longer than a step; a step as long as its like took, even beyond the least limit.
    through = _alone(tmp_path / "a.txt", 50.0, 4.0, 0.5, 0.5, 0.5, 2.5)
    assert through.stdout == "through 5\n", through.stderr
    assert not (tmp_path / "a.txt").exists()
    slow_step = _alone(tmp_path / "b.txt", 60.0, 0.0, 0.0, 30.0)
    assert slow_step.returncode == 1
    assert "has not finished step 3" in slow_step.stderr
    assert "time.sleep" not in slow_step.stderr
    assert 'File "<string>", line 8 in <module>' in (tmp_path / "b.txt").read_text()
    slow_start = _alone(tmp_path / "c.txt", 0.3, 30.0)
    assert slow_start.returncode == 1
    assert "has not finished step 1" in slow_start.stderr


_GIL = """
import ctypes, faulthandler, sys
from pathlib import Path
import trackyard.launch.watchdog as module
module.SLACK_S = module.REARM_S = 0.2
with module.Watchdog(Path(sys.argv[1]), rank=0, limits=module.WatchdogParameters(first_s=2.0)):
    ctypes.PyDLL(None).sleep(30)
"""


def test_a_call_that_keeps_the_interpreter_is_ended_too(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _GIL, str(tmp_path / "stacks.txt")], check=False, timeout=WITHIN_S, capture_output=True
    )
    assert done.returncode == 1
    text = (tmp_path / "stacks.txt").read_text()
    assert text.startswith("Timeout (")
    assert "line 7 in <module>" in text


_WAITS = """
import ctypes, os, sys
from pathlib import Path
from trackyard.launch.watchdog import Watchdog, WatchdogParameters
with Watchdog(Path(sys.argv[1]), rank=0, limits=WatchdogParameters()):
    print(flush=True)
    ctypes.CDLL(None).read(os.pipe()[0], ctypes.create_string_buffer(1), 1)
"""


def test_a_rank_that_waits_inside_c_code_says_where_and_waits_on(tmp_path: Path) -> None:
    path = tmp_path / "stacks.txt"
    with subprocess.Popen([sys.executable, "-c", _WAITS, str(path)], stdout=subprocess.PIPE) as rank:
        try:
            assert rank.stdout is not None
            assert rank.stdout.readline() == b"\n"
            limit = time.monotonic() + WITHIN_S
            # Asked again where the call had not begun.
            while path.read_text().count("line 7 in <module>") < 2:
                assert time.monotonic() < limit
                rank.send_signal(ASK)
                time.sleep(0.05)
            assert rank.poll() is None
        finally:
            rank.kill()


_STOPPED = """
import os, signal, sys, time
from pathlib import Path
from trackyard.errors import StoppedEarly
from trackyard.launch.signals import stop_flag
from trackyard.launch.watchdog import ASK, Watchdog, WatchdogParameters
path = Path(sys.argv[1])
def written(before):
    # How often the stacks of all threads have been, beyond that often, once they have.
    while (found := path.read_text().count("in _watch")) == before:
        time.sleep(0.01)
    return found - before
try:
    with stop_flag() as stopped, Watchdog(path, rank=0, limits=WatchdogParameters()):
        os.kill(os.getpid(), ASK)
        asked = written(0)
        os.kill(os.getpid(), signal.SIGTERM)
        print(asked, written(asked), stopped.name)
        raise StoppedEarly(what="", why="", fix="")
except StoppedEarly:
    os.kill(os.getpid(), signal.SIGTERM)
    print(path.exists())
"""


def test_stop_signals_still_arrive_and_leave_stacks_until_the_end_is_in_order(tmp_path: Path) -> None:
    """Another launcher kills soon after SIGTERM: until the rank has ended well, where it stood is on disk."""
    argv = [sys.executable, "-c", _STOPPED, str(tmp_path / "stacks.txt")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=WITHIN_S)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1", "1", "SIGTERM", "False"]


_BUSY = """
import os, sys, threading
from pathlib import Path
from trackyard.launch.signals import stop_flag
from trackyard.launch.watchdog import Watchdog, WatchdogParameters
def work():
    while True:
        exec("def deep(n): return [deep(n - 1)] if n else []\\ndeep(20)", {})
with stop_flag(), Watchdog(Path(sys.argv[1]), rank=0, limits=WatchdogParameters()):
    for _ in range(2):
        threading.Thread(target=work, daemon=True).start()
    print("works", flush=True)
    sys.stdin.readline()
    print("goes on", flush=True)
    os._exit(0)
"""


def test_a_rank_whose_threads_work_goes_on_after_every_question_and_every_order_to_stop(tmp_path: Path) -> None:
    """Stacks of threads that run, written by the handler of a signal, would crash the rank after a hundred signals."""
    argv = [sys.executable, "-c", _BUSY, str(tmp_path / "stacks.txt")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as rank:
        try:
            assert rank.stdout is not None
            assert rank.stdout.readline() == "works\n"
            for number in 1500 * (signal.SIGTERM, ASK):
                rank.send_signal(number)
                time.sleep(0.0005)
            assert rank.communicate("\n", timeout=WITHIN_S)[0] == "goes on\n"
        finally:
            rank.kill()
    assert rank.returncode == 0
    assert "in work" in (tmp_path / "stacks.txt").read_text()


def test_the_watch_costs_microseconds(tmp_path: Path) -> None:
    """Of a process of its own: the watch takes over its crash reports."""
    code = _COST.format(path=str(tmp_path / "stacks.txt"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=WITHIN_S)
    assert float(done.stdout) < 200e-6


_COST = """
import time
from pathlib import Path
from trackyard.launch.watchdog import Watchdog, WatchdogParameters
with Watchdog(Path({path!r}), rank=0, limits=WatchdogParameters()) as watchdog:
    started = time.process_time()
    for _ in range(2000):
        watchdog.beat()
    print((time.process_time() - started) / 2000)
"""


def test_defaults_leave_the_feed_checkpoints_and_the_process_group_their_own_words() -> None:
    from trackyard.feed.loader import TIMEOUT_S as feed_s
    from trackyard.train.ranks import TIMEOUT_S as group_s
    from trackyard.train.saver import DEADLINE_S as checkpoint_s

    defaults = WatchdogParameters()
    assert max(feed_s, checkpoint_s) < defaults.at_least_s < group_s <= defaults.first_s
    assert Watchdog(Path("unused"), rank=0, limits=defaults).limit_s() == defaults.first_s
