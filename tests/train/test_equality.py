"""One step of each model family is the same step on any number of ranks, however it is divided.

1 rank, 2 data-parallel, 2 context-parallel and 2 x 2, each under ZeRO 0 to 3, with packed masks on, by gloo.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAMILIES = ("molmo2", "gpt_neox", "gemma3")
DIVISIONS = ("1 x 1", "2 x 1", "1 x 2", "2 x 2")
LOSS, GRADIENT = 1e-5, 1e-4


@cache
def found() -> dict[str, dict[str, float]]:
    """Relative differences of every case, by worlds that are started once."""
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.train.equality_worlds"],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    cases: dict[str, dict[str, float]] = json.loads(ended.stdout.splitlines()[-1])
    return cases


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
@pytest.mark.parametrize("division", DIVISIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_is_the_same_however_it_is_divided(family: str, division: str, stage: int) -> None:
    case = found()[f"{family}: {division}, ZeRO {stage}"]
    assert case["tensors"] >= 28
    assert case["loss"] <= LOSS
    assert case["norm"] <= LOSS
    assert case["gradient"] <= GRADIENT


@pytest.mark.parametrize("family", FAMILIES)
def test_negative_control_without_the_mask_the_gradients_are_others(family: str) -> None:
    case = found()[f"{family}, no mask: 1 x 2, ZeRO 0"]
    assert case["loss"] > 100 * LOSS
    assert case["gradient"] > 100 * GRADIENT


def test_nothing_was_left_out() -> None:
    assert len(found()) == len(FAMILIES) * (len(DIVISIONS) * 4 + 1)
