"""Ten thousand steps cost no memory (F29): engine, guard, spool, watch and stop flag, on a trivial model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_LOOP = Path(__file__).with_name("steady_loop.py")
MOST_BYTES_PER_STEP = 1000.0


def _slope(folder: Path, steps: int, leak: int) -> float:
    done = subprocess.run(
        [sys.executable, str(_LOOP), str(folder), str(steps), str(leak)],
        capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return float(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(("steps", "leak"), [(10_000, 0), (1_000, 10_000)])
def test_memory_does_not_grow_by_a_kilobyte_a_step(tmp_path: Path, steps: int, leak: int) -> None:
    """Negative control: a loop that keeps something of each step is found out."""
    slope = _slope(tmp_path, steps, leak)
    assert (slope < MOST_BYTES_PER_STEP) is (leak == 0), slope
    assert leak == 0 or slope > 0.5 * leak, slope
