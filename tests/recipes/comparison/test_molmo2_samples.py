"""Counts of a Molmo2 run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.record.made_runs import Life, make_run
from trackyard.recipes.comparison.molmo2_samples import DOCUMENT, SCHEMA, molmo2_samples
from trackyard.recipes.comparison.samples import Share
from trackyard.record.comparing.summary import RunSummary, read_summary
from trackyard.record.spool import Spool
from trackyard.schema import write_document


def validated(root: Path, limit: int = 8, *, fingerprint: str | None = "f" * 64, **changes: Any) -> RunSummary:
    validation = {"limit": limit, "datasets": {"counting": ["charts"]}, "new_tokens": {"counting": 8}}
    run = make_run(root, Life(), parameters={"snapshot": "data/mini", "validation": validation}, **changes)
    if fingerprint is not None:
        with Spool(run.spool, run.new_attempt()) as spool:
            spool.dataset("charts/validation", fingerprint, "data/mini/charts/validation", "evaluation")
    scores = {
        "counting": {"value": 5 / 12, "examples": 12},
        "pointing": {"value": 0.36, "examples": 8},
    }
    write_document(run.path / DOCUMENT, SCHEMA, {"loss": 1.0, "scores": scores})
    return read_summary(run.path)


def test_right_answers_are_counted_and_means_of_f1_are_not(tmp_path: Path) -> None:
    found = molmo2_samples(validated(tmp_path))
    (share,) = found.shares.values()
    assert (list(found.shares), share.right, share.answers) == (["validation/counting"], 5, 12)
    assert "nothing can be tested in pairs" in found.lacks[0]


def test_what_was_asked_is_part_of_it(tmp_path: Path) -> None:
    one, again, other = (
        molmo2_samples(validated(tmp_path, limit, seed=seed)).shares["validation/counting"]
        for seed, limit in enumerate((8, 8, 9))
    )
    assert one == again == Share(asked=one.asked, right=5, answers=12)
    assert one.asked != other.asked
    # The same path, and other rows there.
    imported = molmo2_samples(validated(tmp_path, seed=3, fingerprint="e" * 64)).shares["validation/counting"]
    assert imported.asked != one.asked


def test_what_was_asked_of_nobody_knows_what_is_not_compared(tmp_path: Path) -> None:
    found = molmo2_samples(validated(tmp_path, fingerprint=None))
    assert found.shares == {}
    assert found.lacks[1] == "its spool does not name the data of counting, so what was asked is not known"


def test_a_run_that_was_not_validated_says_so(tmp_path: Path) -> None:
    found = molmo2_samples(read_summary(make_run(tmp_path, Life()).path))
    assert found.shares == {}
    assert "not validated yet" in found.lacks[0]
