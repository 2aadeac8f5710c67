"""What was not measured is not known, and never 0; long lists are cut, and say so."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.recipes.overview.blocks import Section, Table
from trackyard.recipes.overview.costs import SHOWN, STATES, UNKNOWN, amount, cost_section, duration, moment, runs_csv
from trackyard.recipes.overview.track import Origin, StageTime, TrackReport
from trackyard.record import facts
from trackyard.record.comparing.attempt_log import TRAINED
from trackyard.record.comparing.finals import Final
from trackyard.record.comparing.summary import RunSummary

SPEC = {"code": {"commit": "c" * 40, "dirty_digest": None}, "image": None, "parent": None}
MEASURED = {"world": 2, "device": "H100", "hours": 1.5, "device_hours": 3.0, "energy_kwh": 2.0}


def run(number: int, **changes: Any) -> RunSummary:
    values: dict[str, Any] = {
        "path": Path("runs") / "t" / "train" / f"{number:012d}", "run_id": f"{number:012d}", "track": "t",
        "stage": "train", "seed": 0, "spec": SPEC,
        "status": "FINISHED", "attempts": 1, "started_ms": 1_700_000_000_000 + 60_000 * number, "ended_ms": None,
        "metrics": {TRAINED: Final(0.5, 9)}, "no_number": (), "tags": {}, "world": None, "device": None, "hours": None,
        "device_hours": None, "energy_kwh": None,
    }  # fmt: skip
    return RunSummary(**(values | changes))


def report(**changes: Any) -> TrackReport:
    values: dict[str, Any] = {
        "track": "t", "section": Section(anchor="t", title="T"), "headlines": (), "made_data": "",
        "origin": Origin(commits=frozenset(), images=frozenset()), "models": (), "metrics": {},
    }  # fmt: skip
    return TrackReport(**(values | changes))


def tables(*runs: RunSummary, **changes: Any) -> list[Any]:
    section = cost_section([report(**changes)], runs)
    return [block.grid for block in section.blocks if isinstance(block, Table)]


def test_what_was_measured() -> None:
    stage, newest = tables(run(1, **MEASURED), run(2, **MEASURED), tokens={"train": "1,000"})
    assert stage.rows == (("t", "train", "2", "finished", "3 h", "6 h", "2 x H100", "1,000", "4"),)
    assert [row[2] for row in newest.rows] == [f"`{2:012d}`", f"`{1:012d}`"], "the newest one is the first"


def test_what_was_not_measured_is_not_known() -> None:
    stage, newest = tables(run(1))
    assert stage.rows == (("t", "train", "1", "finished", *[UNKNOWN] * 5),)
    assert newest.rows[0][-1] == UNKNOWN


def test_a_run_that_only_records_costs_nothing_here() -> None:
    told = run(1, stage="study", metrics={})
    stage, newest = tables(told, run(2, **MEASURED))
    assert stage.rows[0] == ("t", "study", "1", "finished", *["-"] * 5)
    assert stage.rows[2][4:6] == ("1.5 h", "3 h"), "of all runs that trained"
    assert [row[-1] for row in newest.rows] == ["1.5 h", "-"]
    for change in ({"status": "RUNNING"}, {"device": "H100"}):
        assert UNKNOWN in tables(run(1, metrics={}, **change))[0].rows[0], "it may have trained"


def test_a_measured_zero_is_a_zero() -> None:
    assert tables(run(1, **(MEASURED | {"energy_kwh": 0.0})))[0].rows[0][-1] == "0"


def test_a_sum_over_some_runs_says_so() -> None:
    assert tables(run(1, **MEASURED), run(2))[0].rows[0][4:6] == ("1.5 h (1 of 2 runs)", "3 h (1 of 2 runs)")


def test_a_track_of_several_stages_has_a_sum() -> None:
    rows = tables(run(1, **MEASURED), run(2, stage="prepare"), run(3, track="u", **MEASURED))[0].rows
    assert [row[:3] for row in rows] == [
        ("t", "prepare", "1"),
        ("t", "train", "1"),
        ("t", "all", "2"),
        ("u", "train", "1"),
    ]
    assert rows[2][4:] == ("1.5 h (1 of 2 runs)", "3 h (1 of 2 runs)", "2 x H100", "-", "2 (1 of 2 runs)")


def test_how_runs_stand_is_said() -> None:
    stage, newest = tables(run(1), run(2, status="FAILED"), run(3, status="RUNNING"), run(4, status="SCHEDULED"))
    assert stage.rows[0][3] == "1 finished, 1 failed, 1 stopped, to be continued, 1 running, or killed"
    assert [row[3] for row in newest.rows] == ["stopped, to be continued", "running, or killed", "failed", "finished"]
    assert set(STATES) == {*facts.OPEN, "FINISHED", "FAILED"}


def test_a_long_list_is_cut_and_the_file_has_all() -> None:
    runs = [run(number) for number in range(SHOWN + 3)]
    newest = tables(*runs)[1]
    assert len(newest.rows) == SHOWN
    assert f"{SHOWN} of {SHOWN + 3} of t" in newest.title
    assert newest.rows[0][2] == f"`{SHOWN + 2:012d}`"
    rows = list(csv.DictReader(io.StringIO(runs_csv(runs))))
    assert [row["run"] for row in rows] == [f"{number:012d}" for number in range(SHOWN + 3)]
    assert {row["energy_kwh"] for row in rows} == {""}
    assert {row["commit"] for row in rows} == {"c" * 40}


def test_without_runs_it_is_said() -> None:
    section = cost_section([report()], [])
    assert any("not known here" in getattr(block, "words", "") for block in section.blocks)


def test_other_stages() -> None:
    times = (StageTime(stage="eval", results=3, seconds=90.0, device="cpu"),)
    origin = Origin(commits=frozenset(), images=frozenset(), times=times)
    assert tables(origin=origin)[0].rows == (("t", "eval", "3", "1.5 min", "cpu"),)


@pytest.mark.parametrize(
    ("hours", "words"), [(0.0, "0 s"), (0.01, "36 s"), (0.5, "30 min"), (1.0, "1 h"), (1234.5, "1,234 h")]
)
def test_durations_in_words(hours: float, words: str) -> None:
    assert duration(hours) == words


@given(st.floats(min_value=1e-6, max_value=1e9))
def test_amounts_keep_three_digits(value: float) -> None:
    assert float(amount(value).replace(",", "")) == pytest.approx(value, rel=0.006)


def test_a_moment_is_utc() -> None:
    assert moment(0) == "1970-01-01 00:00:00"
