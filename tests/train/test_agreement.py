"""An error of one rank is raised by all of them, the lowest rank's first."""

from __future__ import annotations

import pytest

from tests.tiny_state import LONE, Board, on_threads
from trackyard.errors import CheckpointError
from trackyard.train.agreement import agree


def error(what: str) -> CheckpointError:
    return CheckpointError(what=what, why="y", fix="f")


def test_all_ranks_raise_what_the_lowest_found(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board(3)
    monkeypatch.setattr("trackyard.train.agreement.dist", board)
    own = [None, error("second"), error("third")]
    found = on_threads(3, lambda ranks: agree(ranks, own[ranks.rank]), board)
    assert [type(one) for one in found] == [CheckpointError] * 3
    assert {one.what for one in found} == {"second"}
    assert on_threads(3, lambda ranks: agree(ranks, None), board) == [None] * 3


def test_a_lone_rank_raises_its_own() -> None:
    agree(LONE, None)
    with pytest.raises(CheckpointError, match="mine"):
        agree(LONE, error("mine"))
