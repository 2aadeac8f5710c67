"""What a job does when a life of it has ended: a table, and what holds for every life."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.launch.jobs.verdict import Next, verdict

LIVES = 5


@pytest.mark.parametrize(
    ("exit_code", "told_to_end", "progressed", "stalled_before", "life", "next", "passed"),
    [
        (0, False, False, True, 5, "commit", 0),
        (0, True, False, False, 1, "commit", 0),
        (75, False, True, True, 1, "requeue", 75),
        (75, False, False, False, 1, "requeue", 75),
        (75, False, False, True, 2, "given up", 1),
        (75, False, True, False, 4, "requeue", 75),
        (75, False, True, False, 5, "given up", 1),
        (75, True, True, False, 1, "left to slurm", 75),
        (1, True, False, False, 1, "left to slurm", 75),
        (1, False, True, False, 1, "failed", 1),
        (3, False, True, False, 1, "failed", 3),
        (137, False, True, False, 1, "failed", 137),
        (-signal.SIGKILL, False, True, False, 1, "failed", 137),
        (-signal.SIGUSR1, False, False, False, 1, "requeue", 75),
        (128 + signal.SIGUSR1, False, False, True, 2, "given up", 1),
        (128 + signal.SIGTERM, False, True, False, 1, "requeue", 75),
    ],
)
def test_the_table(
    *, exit_code: int, told_to_end: bool, progressed: bool, stalled_before: bool, life: int, next: Next, passed: int
) -> None:
    found = verdict(
        exit_code=exit_code,
        told_to_end=told_to_end,
        progressed=progressed,
        stalled_before=stalled_before,
        life=life,
        lives=LIVES,
    )
    assert (found.next, found.exit_code) == (next, passed)


@given(
    exit_code=st.integers(-64, 255),
    told_to_end=st.booleans(),
    progressed=st.booleans(),
    stalled_before=st.booleans(),
    life=st.integers(1, 9),
)
def test_no_life_is_a_success_that_is_none_and_no_job_lives_for_ever(
    *, exit_code: int, told_to_end: bool, progressed: bool, stalled_before: bool, life: int
) -> None:
    found = verdict(
        exit_code=exit_code,
        told_to_end=told_to_end,
        progressed=progressed,
        stalled_before=stalled_before,
        life=life,
        lives=LIVES,
    )
    assert (found.next == "commit") == (exit_code == 0) == (found.exit_code == 0)
    assert 0 <= found.exit_code <= 255
    if life >= LIVES or (stalled_before and not progressed) or told_to_end:
        assert found.next != "requeue"
