"""Golden losses: fifty steps of each track's tiny model are the same to the bit as when they were stored.

After a change that is meant to alter them: `python -m tests.train.goldens --write`, and a line in CHANGELOG that says
why.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.train.goldens import GOLDEN, STEPS, TRACKS

ROOT = Path(__file__).parents[2]


def test_golden_losses() -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.train.goldens"],
        cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    found, golden = json.loads(ended.stdout), json.loads(GOLDEN.read_text())
    assert set(found) == set(golden) == set(TRACKS.values())
    for track, losses in golden.items():
        assert len(losses) == STEPS
        # The model learns its two packs: a stored curve that is flat would compare nothing.
        assert float.fromhex(losses[-1]) < 0.6 * float.fromhex(losses[0])
        changed = [step for step in range(STEPS) if found[track][step] != losses[step]]
        assert not changed, f"{track}: the loss of step {changed[0]} is another one; see the docstring of this file"
