"""A memory limit of the kernel and a lost peer, as torch and Python really report them (reliability F26, F29)."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from trackyard.errors import TrackyardError
from trackyard.launch.failures import named_failures

_LIMITED = """
import mmap, resource, sys, threading
import numpy, torch
from trackyard.errors import TrackyardError
from trackyard.launch.failures import named_failures

torch.set_num_threads(1)
torch.ones(1).sum()
used = int(open("/proc/self/statm").read().split()[0]) * mmap.PAGESIZE
resource.setrlimit(resource.RLIMIT_AS, (used + (16 << 20),) * 2)

class Unguarded:
    def __enter__(self): return None
    def __exit__(self, *_): return False

def threads():
    threading.stack_size(64 << 20)
    threading.Thread(target=print).start()

for name, ask in {
    "python": lambda: bytearray(1 << 30),
    "numpy": lambda: numpy.ones(1 << 28),
    "torch": lambda: torch.empty(1 << 30),
    "file": lambda: mmap.mmap(-1, 1 << 30),
    "thread": threads,
}.items():
    try:
        with named_failures() if sys.argv[1] == "guarded" else Unguarded():
            ask()
    except TrackyardError as error:
        print(name, error.exit_code, error.what)
    except (MemoryError, OSError, RuntimeError) as error:
        print(name, "bare", type(error).__name__)
"""


def _limited(how: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, how], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_under_a_memory_limit_every_library_fails_in_the_same_words() -> None:
    said = _limited("guarded")
    assert [line.split()[0] for line in said] == ["python", "numpy", "torch", "file", "thread"]
    for line in said:
        assert " 1 host memory is used up (the limit is " in line, line
        assert "GiB): " in line


def test_without_the_guard_they_do_not() -> None:
    """Negative control: the limit is real, and the words are five libraries' own."""
    assert [line.split(maxsplit=1)[1] for line in _limited("bare")] == [
        "bare MemoryError",
        "bare MemoryError",
        "bare RuntimeError",
        "bare OSError",
        "bare RuntimeError",
    ]


@pytest.mark.parametrize(
    "said",
    [
        "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:538] Connection closed by peer [127.0.0.1]:5",
        "[../third_party/gloo/gloo/transport/tcp/unbound_buffer.cc:78] Timed out waiting 120000ms for recv operation",
    ],
)
def test_a_lost_peer_is_named(said: str) -> None:
    with pytest.raises(TrackyardError, match="a collective failed: ") as raised, named_failures():
        raise RuntimeError(said)
    assert "stacks/" in raised.value.fix


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"),
        OSError(errno.ENOSPC, "No space left on device"),
        TrackyardError(what="what", why="why", fix="fix"),
        ValueError("gloo/"),
    ],
)
def test_other_errors_pass_as_they_are(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(type(error)) as raised, named_failures():
        raise error
    assert raised.value is error
