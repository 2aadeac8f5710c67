"""Fifty kills at random moments of training, saving and rotation lose nothing, and no bit differs at the end (F1)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
KILLS = 50


def test_fifty_kills(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.system.killed_training", tmp_path, str(KILLS), "1"],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=3600, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["killed"] == KILLS
    assert found["unloadable"] == 0
    assert found["without"] == 0, "after the first checkpoint there was a moment without a valid one"
    assert found["examined"] > 2 * KILLS
    assert found["equal"], "the final weights are others than those of an uninterrupted run"
    # The kills met a run that moved on, not one that began anew each time.
    assert found["reached"] == sorted(found["reached"])
    assert len(set(found["reached"])) > 5
