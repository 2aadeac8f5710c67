"""Going back: to which checkpoint, on from which step, and the same again after a restart at any moment."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackyard.errors import DataError
from trackyard.train.guard_parameters import GuardParameters
from trackyard.train.rollback import (
    DOCUMENT,
    Diverged,
    Rollback,
    left_behind,
    next_step,
    plan_rollback,
    read_rollbacks,
    write_rollbacks,
)

AFTER_3 = GuardParameters(rollback_after=3, max_rollbacks=2)


def rows(step: int) -> list[str]:
    return [f"row-{step}-{number}" for number in range(10)]


def back(checkpoint: int, resume_at: int) -> Rollback:
    return Rollback(checkpoint=checkpoint, resume_at=resume_at, skipped={})


def planned(in_a_row: list[int], checkpoints: list[int], before: list[Rollback] | None = None) -> Rollback | None:
    return plan_rollback(AFTER_3, before or [], in_a_row=in_a_row, checkpoints=checkpoints, rows_of=rows)


def test_two_skipped_steps_are_not_enough() -> None:
    assert planned([7, 8], [4]) is None


@pytest.mark.parametrize(
    ("checkpoints", "chosen"),
    [([2, 4, 6], 6), ([2, 4, 7], 7), ([4, 8], 4), ([8, 9], 8), ([], 0)],
    ids=["newest", "just before the first bad step", "not one of the bad steps", "rotated away", "none"],
)
def test_the_checkpoint_from_before_the_first_bad_step(checkpoints: list[int], chosen: int) -> None:
    found = planned([7, 8, 9], checkpoints)
    assert found == Rollback(checkpoint=chosen, resume_at=10, skipped={step: tuple(rows(step)) for step in (7, 8, 9)})


def test_what_a_rollback_passed_over_is_never_resumed_from() -> None:
    before = [back(4, 10)]
    assert [step for step in range(13) if left_behind(before, step)] == [5, 6, 7, 8, 9, 10]
    found = planned([11, 12, 13], [4, 8, 10], before)
    assert found is not None
    assert found.checkpoint == 4


def test_a_checkpoint_goes_on_where_the_last_rollback_to_it_said() -> None:
    assert next_step([], 4) == 4
    assert next_step([back(4, 10), back(4, 20), back(12, 16)], 4) == 20
    assert next_step([back(4, 10)], 12) == 12


def test_the_run_stops_when_it_has_gone_back_often_enough() -> None:
    with pytest.raises(Diverged) as found:
        planned([7, 8, 9], [4], [back(2, 4), back(2, 6)])
    assert found.value.what.startswith("3 updates in a row were left out, after 2 rollbacks: step 8 (rows row-7-0, ")
    assert "row-9-7 and 2 more)" in found.value.what
    assert planned([7, 8, 9], [4], [back(2, 4)]) is not None, "once less is no error"


def test_the_document(tmp_path: Path) -> None:
    assert read_rollbacks(tmp_path) == []
    written = [Rollback(checkpoint=4, resume_at=10, skipped={7: ("a", "b"), 8: ()}), back(0, 12)]
    write_rollbacks(tmp_path, written)
    assert read_rollbacks(tmp_path) == written
    (tmp_path / DOCUMENT).write_text("{")
    with pytest.raises(DataError, match="not valid JSON"):
        read_rollbacks(tmp_path)


def simulate(
    bad: set[int], save_every: int, log_every: int, kills: set[int], *, steps: int = 30, forget: bool = False
) -> tuple[list[int], bool]:
    """A run with restarts after `kills` steps taken in all; returns what the final weights are made of.

    Weights are the list of steps applied to them. What a killed attempt knew is gone; checkpoints and the document
    stay, the latter unless `forget`.
    """
    saved: dict[int, tuple[list[int], list[int]]] = {}
    rollbacks: list[Rollback] = []
    taken = 0
    while True:  # one turn is an attempt, or what follows a rollback
        checkpoint = max((step for step in saved if not left_behind(rollbacks, step)), default=0)
        weights, in_a_row = saved.get(checkpoint, ([], []))
        weights, in_a_row = list(weights), list(in_a_row)
        at = next_step(rollbacks, checkpoint)
        in_a_row = [] if at > checkpoint else in_a_row
        killed = went_back = False
        while at < steps and not killed and not went_back:
            if at in bad:
                in_a_row.append(at)
            else:
                weights.append(at)
                in_a_row = []
            at, taken = at + 1, taken + 1
            killed = taken in kills
            if killed:
                rollbacks = [] if forget else rollbacks
                break
            if at % log_every == 0:
                try:
                    found = plan_rollback(
                        AFTER_3, rollbacks, in_a_row=in_a_row, checkpoints=sorted(saved), rows_of=lambda _: []
                    )
                except Diverged:
                    return weights, True
                if found is not None:
                    rollbacks.append(found)
                    went_back = True
                    continue
            if at % save_every == 0:
                saved = {step: item for step, item in saved.items() if step < at} | {
                    at: (list(weights), list(in_a_row))
                }
        if at >= steps and not went_back and not killed:
            return weights, False


RUNS = st.tuples(st.integers(0, 26), st.integers(1, 8)).map(lambda run: set(range(run[0], min(sum(run), 30))))
KILLS = st.sets(st.integers(1, 60), max_size=5)


@settings(max_examples=300)
@given(st.lists(RUNS, max_size=3).map(lambda runs: set().union(*runs)), st.integers(1, 7), st.integers(1, 4), KILLS)
def test_kills_do_not_change_what_the_weights_are_made_of(
    bad: set[int], save_every: int, log_every: int, kills: set[int]
) -> None:
    whole, stopped = simulate(bad, save_every, log_every, set())
    assert simulate(bad, save_every, log_every, kills) == (whole, stopped)
    assert not set(whole) & bad
    assert len(set(whole)) == len(whole), "no step is applied twice"


def test_negative_control_without_the_document_a_kill_changes_the_weights() -> None:
    bad, kills = {10, *range(17, 24)}, {9, 26}
    assert simulate(bad, 3, 1, kills) == simulate(bad, 3, 1, set())
    assert simulate(bad, 3, 1, kills, forget=True) != simulate(bad, 3, 1, set())
