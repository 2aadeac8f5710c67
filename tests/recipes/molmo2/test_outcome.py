"""What a stage tells of its run: metrics by the names of all tracks, data by what it was for, files to be shown."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.system.repository import mini_rows, write_rows
from trackyard.recipes.molmo2.outcome import record_outcome, stage_metrics, tell_data
from trackyard.record.code import CodeIdentity
from trackyard.record.facts import events
from trackyard.record.identity import RunSpec
from trackyard.record.metrics_file import read_metrics
from trackyard.record.rundir import RunDirectory, open_or_create
from trackyard.record.spool import Spool, read_spool
from trackyard.snapshot.reader import open_snapshot

SCORES = {
    "start": {"counting": {"value": 0.25, "chance": 0.125, "examples": 4, "unparsed": 0}},
    "trained": {"counting": {"value": 0.75, "chance": 0.125, "examples": 4, "unparsed": 0}},
}
RESULT: dict[str, Any] = {
    "run_id": "abc", "steps": 20, "tokens": 1_000, "visual_tokens": 10, "rows": 50, "padding": 0.0625,
    "skipped_steps": 1, "loss": {"first": 4.0, "last": 1.5}, "seconds": 3.0, "curve": [[1, 4.0], [20, 1.5]],
    "validation": {
        moment: {"loss": loss, "loss_rows": 8, "scores": SCORES[moment]}
        for moment, loss in (("start", 3.5), ("trained", 1.25))
    },
}  # fmt: skip
ENTRY = {
    "name": "tallyqa", "dataset": "tallyqa", "group": "sft", "reference_rate": 1.0, "rate": 1.0, "difference": 0.0,
    "row_share": 1.0, "token_share": 1.0, "rows_drawn": 50, "tokens": 1_000, "visual_tokens": 10, "epochs": 1.0,
}  # fmt: skip


@pytest.fixture
def prepared(tmp_path: Path) -> Any:
    """A stage that trains on one data set of three; one of the others is scored, one is neither."""
    for name in ("tallyqa", "pixmo-count", "tulu"):
        write_rows(
            tmp_path / "data" / name,
            name,
            train=mini_rows(name, "train", 1),
            validation=mini_rows(name, "validation", 1),
        )
    snapshot = open_snapshot(tmp_path / "data", None)
    spec = RunSpec(
        track="molmo2", stage="stage2", parameters={}, plan="p" * 12, model={}, snapshots={}, parent=None,
        code=CodeIdentity(commit="c" * 40, dirty_digest=None), image=None, seed=1,
    )  # fmt: skip
    mixture = SimpleNamespace(mixture=SimpleNamespace(max_epochs=None))
    return SimpleNamespace(
        root=tmp_path, stage="stage2", spec=spec, datasets={"tallyqa": snapshot["tallyqa"]},
        scored={"pixmo-count": snapshot["pixmo-count"]},
        plan=SimpleNamespace(steps=20, summary={"entries": [ENTRY], "totals": {"rows": 50}}),
        parameters=SimpleNamespace(
            snapshot=Path("data"), model=SimpleNamespace(preset="tiny"), stage=lambda _: mixture,
        ),
    )  # fmt: skip


def told(directory: RunDirectory, kind: str) -> list[dict[str, Any]]:
    parts = {path.name: read_spool(path) for path in sorted(directory.spool.glob("*.jsonl"))}
    return list(events(parts, kind))


def test_metrics_of_a_stage() -> None:
    assert stage_metrics(RESULT) == {
        "train/steps": 20, "train/tokens": 1_000, "train/padding": 0.0625, "train/skipped_steps": 1,
        "train/first_loss": 4.0, "train/loss": 1.5,
        "validation/loss": 1.25, "start/validation/loss": 3.5, "examples/validation/loss": 8,
        "validation/counting": 0.75, "start/validation/counting": 0.25, "chance/validation/counting": 0.125,
        "examples/validation/counting": 4,
    }  # fmt: skip


def test_all_data_that_is_read_is_named_by_what_it_is_for(prepared: Any) -> None:
    directory = open_or_create(prepared.root / "runs", prepared.spec)
    with Spool(directory.spool, directory.new_attempt()) as spool:
        tell_data(prepared, spool)
    found = {event["name"]: event for event in told(directory, "dataset")}
    assert {name: (event["context"], event["source"]) for name, event in found.items()} == {
        "tallyqa": ("training", "data/tallyqa"),
        "tallyqa/validation": ("evaluation", "data/tallyqa/validation"),
        "pixmo-count/validation": ("evaluation", "data/pixmo-count/validation"),
    }
    assert found["tallyqa"]["digest"] == prepared.datasets["tallyqa"].manifest.fingerprint


def test_the_outcome_agrees_with_metrics_json_and_brings_files(prepared: Any) -> None:
    directory = open_or_create(prepared.root / "runs", prepared.spec)
    record_outcome(prepared, directory, RESULT, card="# A card")
    metrics = read_metrics(directory.path / "metrics.json")["stage2"]
    first, last = told(directory, "metrics")
    assert (first["step"], first["values"]) == (0, {"validation/loss": 3.5, "validation/counting": 0.25})
    # The loss of training is a curve, whose last point it is already.
    assert "train/loss" not in last["values"]
    assert (last["step"], last["values"] | {"train/loss": 1.5}) == (20, metrics)
    paths = [event["path"] for event in told(directory, "artifact")]
    assert paths == ["validation-trained.json", "metrics.json", "card.md", "mixture.csv", "mixture.svg"]
    assert (directory.path / "card.md").read_text() == "# A card"
    with open(directory.path / "mixture.csv", encoding="utf-8") as file:
        assert [row["tokens"] for row in csv.DictReader(file)] == ["1000"]
    assert "tallyqa" in (directory.path / "mixture.svg").read_text()
    assert [(event["name"], event["path"]) for event in told(directory, "model")] == [
        ("molmo2-tiny", "artifacts/molmo2/stage2/export")
    ]
    assert told(directory, "status")[-1]["state"] == "finished"
