"""The form in which outcomes are written."""

from __future__ import annotations

import json

from trackyard.evaluate.harness.outcome import Figure, Sample, TaskOutcome


def test_a_task_has_the_keys_of_the_specification() -> None:
    found = TaskOutcome(
        metrics={"acc": Figure(0.5, 0.1), "perplexity": Figure(9.0, None)},
        n=4,
        chance=0.25,
        dataset="made",
        dataset_revision="r",
        task_hash="h",
    ).to_json()
    assert found["acc"] == {"value": 0.5, "stderr": 0.1}
    assert found["perplexity"] == {"value": 9.0, "stderr": None}
    assert {key: found[key] for key in ("n", "chance", "dataset_revision", "task_hash")} == {
        "n": 4, "chance": 0.25, "dataset_revision": "r", "task_hash": "h",
    }  # fmt: skip


def test_a_sample_is_a_line() -> None:
    sample = Sample(task="t", doc_id=3, item="i", metrics={"acc": 1.0}, loglikelihoods=(-1.5, -2.0))
    line = sample.line()
    assert line.count(b"\n") == 1
    assert json.loads(line) == {
        "task": "t", "doc_id": 3, "item": "i", "metrics": {"acc": 1.0}, "loglikelihoods": [-1.5, -2.0],
    }  # fmt: skip
