"""A run of a whole study: its numbers, labels, data and files, each told once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.recipes.reporting.test_outcomes import SPEC
from trackyard.recipes.reporting.recording import record_study, tell
from trackyard.record.facts import events
from trackyard.record.rundir import RunDirectory, open_or_create
from trackyard.record.spool import read_spool
from trackyard.record.tracking.server import DatasetFact

FACT = DatasetFact(name="vsr", digest="d" * 64, source="artifacts/items", context="evaluation")


def told(directory: RunDirectory, kind: str) -> list[dict[str, Any]]:
    parts = {path.name: read_spool(path) for path in sorted(directory.spool.glob("*.jsonl"))}
    return list(events(parts, kind))


def recorded(root: Path, value: float = 0.5, **changes: Any) -> RunDirectory:
    results = root / "artifacts"
    (results / "figures").mkdir(parents=True, exist_ok=True)
    (results / "figures" / "a.svg").write_text("<svg/>")
    return record_study(
        root / "runs", SPEC, {"eval/vsr/accuracy": value, "eval/vsr/nll": 1.0}, results, ["figures/a.svg"],
        **{"tags": {"trackyard.group": "study"}, "datasets": [FACT]} | changes,
    )  # fmt: skip


def test_recording_twice_is_recording_once(tmp_path: Path) -> None:
    directory = recorded(tmp_path)
    before = {path.name: path.read_bytes() for path in directory.spool.iterdir()}
    assert recorded(tmp_path).path == directory.path
    assert {path.name: path.read_bytes() for path in directory.spool.iterdir()} == before
    assert [event["values"] for event in told(directory, "tag")] == [{"trackyard.group": "study"}]
    assert [event["name"] for event in told(directory, "dataset")] == ["vsr"]
    assert [event["path"] for event in told(directory, "artifact")] == ["results/figures/a.svg"]
    assert (directory.path / "results/figures/a.svg").read_text() == "<svg/>"
    assert told(directory, "status")[-1]["state"] == "finished"


def test_only_what_is_new_is_told(tmp_path: Path) -> None:
    recorded(tmp_path)
    other = replace(FACT, digest="e" * 64)
    directory = recorded(tmp_path, 0.75, tags={"trackyard.group": "another"}, datasets=[FACT, other])
    assert [event["digest"][0] for event in told(directory, "dataset")] == ["d", "e"]
    assert told(directory, "tag")[-1]["values"] == {"trackyard.group": "another"}
    assert [(event["step"], event["values"]["eval/vsr/accuracy"]) for event in told(directory, "metrics")] == [
        (0, 0.5),
        (1, 0.75),
    ]
    assert len(told(directory, "artifact")) == 1


def test_files_that_are_shown_no_more_are_no_longer_in_the_run(tmp_path: Path) -> None:
    directory = recorded(tmp_path)
    stale = directory.path / "results" / "old.md"
    stale.write_text("of another comparison")
    recorded(tmp_path)
    assert not stale.exists()


def test_a_figure_that_was_drawn_again_is_the_new_one(tmp_path: Path) -> None:
    recorded(tmp_path)
    (tmp_path / "artifacts" / "figures" / "b.svg").write_text("<svg>b</svg>")
    results = tmp_path / "artifacts"
    told_now = {"tags": {"trackyard.group": "study"}, "datasets": [FACT]}
    directory = record_study(tmp_path / "runs", SPEC, {"eval/vsr/nll": 1.0}, results, ["figures/b.svg"], **told_now)
    assert [path.name for path in (directory.path / "results" / "figures").iterdir()] == ["b.svg"]
    assert [event["path"] for event in told(directory, "artifact")] == [
        "results/figures/a.svg",
        "results/figures/b.svg",
    ]


def test_nothing_to_tell_opens_no_attempt(tmp_path: Path) -> None:
    directory = open_or_create(tmp_path, SPEC)
    tell(directory, tags={})
    assert directory.attempts() == []
