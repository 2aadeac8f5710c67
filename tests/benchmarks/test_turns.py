"""Contenders that stay: turns, equal answers, and what becomes of one that ends."""

from __future__ import annotations

import math
from statistics import median

import pytest

from benchmarks.harness import Contender, Unequal
from benchmarks.loop_overhead import agree
from benchmarks.turns import Companion, alternate

CODE = """
import sys, time
from benchmarks.staying import serve
def turn():
    time.sleep(float(sys.argv[2]))
    return 10
print("{'what a library prints'}", flush=True)
serve(turn, sys.argv[1])
"""


def _contender(name: str, answer: str, seconds: str) -> Contender:
    return Contender(name=name, argv=["-c", CODE, answer, seconds])


def test_turns_give_the_ratio_of_two_sleepers() -> None:
    figures = alternate([_contender("ours", "a", "0.02"), _contender("slow", "a", "0.1")], metric="wall_s", rounds=3)
    ours, slow = (median(10 / each["wall_s"] for each in figures[name]["rounds"]) for name in ("ours", "slow"))
    assert figures["slow"]["ours_over_it"] == pytest.approx(ours / slow)
    assert ours > slow
    assert len(figures["ours"]["rounds"]) == 3


def test_unequal_answers_give_no_result() -> None:
    with pytest.raises(Unequal, match="b answered otherwise"):
        alternate([_contender("a", "1", "0"), _contender("b", "2", "0")], metric="wall_s", rounds=1)


def test_a_contender_that_ends_ends_the_benchmark() -> None:
    gone = Contender(name="gone", argv=["-c", "import sys; sys.exit(4)"])
    with Companion(gone) as companion, pytest.raises(SystemExit, match="gone ended with exit code 4"):
        companion.hear()


def test_losses_agree_only_if_they_are_the_same_numbers() -> None:
    same = {"ours": [2.0, 1.0], "raw loop": [2.0, 1.000001]}
    assert agree(same) is None
    assert "raw loop" in str(agree(same | {"raw loop": [2.0, 1.001]}))
    assert agree({"ours": [math.nan], "raw loop": [math.nan]}) is not None
