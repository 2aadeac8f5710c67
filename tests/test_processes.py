from __future__ import annotations

import subprocess
import sys

from tests.processes import all_end, descendants, is_alive

PARENT = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"])
print(child.pid, flush=True)
sys.stdin.read()
"""


def test_processes_are_seen_living_and_ended() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdin is not None
        child = int(parent.stdout.readline())
        assert descendants(parent.pid) == [child]
        assert is_alive(child)
        assert not all_end([parent.pid, child], within_s=0.1)
        parent.stdin.close()  # the end of input of both
        assert all_end([parent.pid, child], within_s=120)
        # The child's end is known to whoever adopted it; the parent, whom nobody has waited for, is a zombie.
        assert parent.returncode is None
    assert not is_alive(parent.pid)
