"""Rows of checks: none is lost, a failure does not hide the next, and looking at nothing is a failure."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.errors import EnvironmentLacking
from trackyard.launch.preflight import Check, Report, Row, Seen, Skipped, Warned, run_checks


def passes() -> Seen:
    return Seen(detail="looked", examined=3, fetched=10)


def fails() -> Seen:
    raise EnvironmentLacking(what="no room", why="it would not fit", fix="free some")


def skips() -> Seen:
    raise Skipped("no gated model is configured")


def warns() -> Seen:
    raise Warned(what="old", why="it may differ", fix="renew it")


def sees_nothing() -> Seen:
    return Seen(detail="an empty list", examined=0)


KINDS = {"passed": passes, "failed": fails, "skipped": skips, "warned": warns, "nothing": sees_nothing}


@given(st.lists(st.sampled_from(sorted(KINDS)), max_size=8), st.sampled_from([1, 3]))
def test_every_check_is_a_row_and_totals_add_up(kinds: list[str], at_once: int) -> None:
    seen: list[Row] = []
    checks = [Check(name=f"{number} {kind}", run=KINDS[kind]) for number, kind in enumerate(kinds)]
    report = run_checks(checks, progress=seen.append, at_once=at_once)
    assert [row.name for row in report.rows] == [check.name for check in checks]
    assert list(report.rows) == seen
    assert sum(report.count(state) for state in ("passed", "warned", "failed", "skipped")) == len(kinds)
    assert report.count("failed") == kinds.count("failed") + kinds.count("nothing")
    assert report.ok == ("passed" in kinds and "failed" not in kinds and "nothing" not in kinds)
    assert report.fetched == 10 * kinds.count("passed")


def test_a_failure_keeps_its_remedy() -> None:
    (row,) = run_checks([Check(name="disk", run=fails)]).rows
    assert (row.state, row.detail, row.why, row.fix) == ("failed", "no room", "it would not fit", "free some")
    assert row.exit_code == 3


def test_a_warning_keeps_its_remedy_and_fails_nothing() -> None:
    (row,) = run_checks([Check(name="version", run=warns)]).rows
    assert (row.state, row.detail, row.why, row.fix) == ("warned", "old", "it may differ", "renew it")
    assert row.exit_code == 0


def test_checks_run_side_by_side_where_that_is_asked() -> None:
    meeting = threading.Barrier(3, timeout=60)

    def meets() -> Seen:
        meeting.wait()
        return Seen(detail="met", examined=1)

    assert run_checks([Check(name=str(number), run=meets) for number in range(3)], at_once=3).ok


def test_what_may_not_be_looked_at_hides_no_other_row() -> None:
    def forbidden() -> Seen:
        raise PermissionError(13, "Permission denied", "scratch")

    first, second = run_checks([Check(name="scratch", run=forbidden), Check(name="next", run=passes)]).rows
    assert (first.state, first.exit_code) == ("failed", 3)
    assert "Permission denied: 'scratch'" in first.detail
    assert second.state == "passed"


def test_a_defect_is_not_a_row() -> None:
    def defect() -> Seen:
        raise KeyError("x")

    with pytest.raises(KeyError):
        run_checks([Check(name="defect", run=defect)])


def test_no_rows_prove_nothing() -> None:
    assert not Report(rows=()).ok
