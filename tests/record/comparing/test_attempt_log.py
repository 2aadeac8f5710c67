"""One spool file, folded."""

from __future__ import annotations

import json
from pathlib import Path

from trackyard.record.comparing.attempt_log import ENERGY, begun_attempts, read_attempt
from trackyard.record.comparing.finals import Finals


def test_events_that_are_no_points_stay_in_order(tmp_path: Path) -> None:
    events = [
        {"event": "machine", "world": 2, "device": "d", "host": "h", "timestamp": 1000},
        {"event": "tag", "values": {"a": "1"}},
        {"event": "metrics", "step": 1, "timestamp": 3_601_000, "values": {ENERGY: 5.0, "x": 1}},
        {"event": "metrics", "step": 2, "timestamp": 2000, "values": {ENERGY: 6.0}},
        {"event": "status", "state": "finished", "timestamp": 1500},
    ]
    path = tmp_path / "attempt-0001.jsonl"
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    finals = Finals()
    log = read_attempt(path, finals)
    assert [event["event"] for event in log.others] == ["machine", "tag", "status"]
    assert (log.hours, log.energy_j, log.trained) == (1.0, 6.0, False)
    # A whole number is a float all the same.
    assert isinstance(finals["x"].value, float)


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "attempt-0001.jsonl"
    path.touch()
    log = read_attempt(path, Finals())
    assert (log.hours, log.last_ms, log.energy_j, log.machine, log.others) == (None, None, None, None, [])


def test_a_torn_line_of_attempts_is_none(tmp_path: Path) -> None:
    assert begun_attempts(tmp_path) == []
    line = json.dumps({"number": 3, "host": "h", "pid": 1, "started": "2026-01-01T00:00:00+00:00"})
    (tmp_path / "attempts.jsonl").write_text(f"{line}\n{line[:20]}")
    assert [attempt.number for attempt in begun_attempts(tmp_path)] == [3]


def test_what_follows_the_last_step_is_not_the_machines(tmp_path: Path) -> None:
    events = [
        {"event": "machine", "world": 2, "device": "d", "host": "h", "timestamp": 0},
        {"event": "machine_done", "timestamp": 1_800_000},
        {"event": "status", "state": "finished", "timestamp": 9_000_000},
    ]
    path = tmp_path / "attempt-0001.jsonl"
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    assert read_attempt(path, Finals()).hours == 0.5
