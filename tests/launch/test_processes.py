"""Ranks side by side: what they are told, how they are stopped, and that none outlives its parent."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.processes import all_end, is_alive
from trackyard.errors import EnvironmentLacking
from trackyard.launch import processes
from trackyard.launch.processes import PORTS, free_port, rank_environment, run_processes
from trackyard.runner import Together, together


def _together(*codes: str, grace_s: float = 10.0) -> Together:
    return together([([sys.executable, "-c", code], os.environ) for code in codes], grace_s=grace_s)


def test_exit_codes_come_in_order() -> None:
    assert _together("", "raise SystemExit(0)") == Together(codes=(0, 0), stopped_by=None)
    assert _together("raise SystemExit(3)", "import time; time.sleep(0.3)").codes == (3, 0)


def test_a_rank_that_waits_for_a_failed_one_is_killed() -> None:
    started = time.monotonic()
    ended = _together("raise SystemExit(2)", "import time; time.sleep(60)", grace_s=0.2)
    assert ended.codes == (2, -9)
    assert time.monotonic() - started < 20


_LISTEN = """
import pathlib, signal, sys, time
def stop(number, frame):
    sys.exit(40 + number)
signal.signal(signal.SIGUSR1, stop)
pathlib.Path({ready!r}).touch()
time.sleep(60)
"""


def test_a_signal_reaches_every_rank(tmp_path: Path) -> None:
    ready = [tmp_path / name for name in ("a", "b")]

    def send() -> None:
        while not all(path.exists() for path in ready):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.getsignal(signal.SIGUSR1)
    thread = threading.Thread(target=send)
    thread.start()
    ended = _together(*(_LISTEN.format(ready=str(path)) for path in ready))
    thread.join()
    assert ended == Together(codes=(40 + signal.SIGUSR1,) * 2, stopped_by="SIGUSR1")
    assert signal.getsignal(signal.SIGUSR1) == before


def test_each_rank_is_told_which_one_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "told.py").write_text(
        "import os, pathlib, sys\n"
        "names = ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'LOCAL_WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT')\n"
        "pathlib.Path(sys.argv[1], os.environ['RANK']).write_text(' '.join(os.environ[name] for name in names))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert run_processes("told", [str(tmp_path)], processes=2).codes == (0, 0)
    told = [(tmp_path / str(rank)).read_text().split() for rank in (0, 1)]
    port = int(told[0][-1])
    assert told == [list(rank_environment(rank, 2, port).values()) for rank in (0, 1)]
    assert 1024 <= port <= 65535


_ANSWER = """
import faulthandler, pathlib, signal, sys, time
handle = open(sys.argv[1], "w")
faulthandler.register(signal.SIGUSR2, handle)
pathlib.Path(sys.argv[1] + ".ready").touch()
time.sleep(60)
"""


def test_who_waits_for_a_failed_rank_is_asked_where_it_stands_before_it_is_killed(tmp_path: Path) -> None:
    stacks = tmp_path / "stacks.txt"
    fail = (
        f"import pathlib, time\nwhile not pathlib.Path({str(stacks) + '.ready'!r}).exists(): time.sleep(0.01)\nexit(1)"
    )
    argv = [sys.executable, "-c"]
    ended = together(
        [([*argv, fail], os.environ), ([*argv, _ANSWER, str(stacks)], os.environ)],
        grace_s=1.0,
        ask=signal.SIGUSR2,
        answer_s=2.0,
    )
    assert ended.codes == (1, -9)
    assert "line 6 in <module>" in stacks.read_text()


def test_ranks_are_started_without_the_store_of_an_outer_torchrun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elastic.py").write_text(
        "import os, pathlib, sys\n"
        "said = os.environ.get('TORCHELASTIC_USE_AGENT_STORE', '-')\n"
        "pathlib.Path(sys.argv[1], os.environ['RANK']).write_text(said)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    assert run_processes("elastic", [str(tmp_path)], processes=1).codes == (0,)
    assert (tmp_path / "0").read_text() == "-"


_PARENT = """
import os, sys
from trackyard.runner import together
together([([sys.executable, "-c", sys.argv[1]], os.environ)])
"""
_RANK = """
import os, pathlib, time
from trackyard.launch.processes import end_with_parent
{guard}
pathlib.Path({pid!r}).write_text(str(os.getpid()))
time.sleep(60)
"""


@pytest.mark.parametrize("guarded", [True, False])
def test_a_rank_does_not_outlive_a_killed_parent(tmp_path: Path, guarded: bool) -> None:
    """Without the guard it does: that is what the guard is for."""
    note = tmp_path / "pid"
    rank = _RANK.format(guard="end_with_parent()" if guarded else "", pid=str(note))
    parent = subprocess.Popen([sys.executable, "-c", _PARENT, rank])
    while not (note.exists() and note.read_text()):
        assert parent.poll() is None
        time.sleep(0.01)
    pid = int(note.read_text())
    parent.kill()
    parent.wait()
    try:
        assert all_end([pid], within_s=10.0 if guarded else 0.5) is guarded
    finally:
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)


def test_ranks_meet_below_the_ports_of_outgoing_connections() -> None:
    first_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert PORTS[1] <= first_outgoing
    assert all(PORTS[0] <= free_port() < PORTS[1] for _ in range(8))


def test_a_port_in_use_is_passed_over_and_no_free_one_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        port = free_port()
        taken.bind(("127.0.0.1", port))
        monkeypatch.setattr(processes, "PORTS", (port, port + 1))
        with pytest.raises(EnvironmentLacking, match=f"every port from {port} to {port} is in use"):
            free_port()
    assert free_port() == port
