"""What MLflow is told about a run besides its curves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from trackyard.record.code import CodeIdentity
from trackyard.record.facts import describe, identity_tags, status
from trackyard.record.identity import RunSpec
from trackyard.record.points import PointCensus
from trackyard.record.spool import SpoolPart
from trackyard.record.tracking.server import DatasetFact

SpecOf = Callable[..., RunSpec]


def part(*events: dict[str, Any], damaged: int = 0) -> SpoolPart:
    return SpoolPart(events=list(enumerate(events, 1)), end=len(events), torn=0, damaged=damaged)


def test_tags_are_the_identity(spec_of: SpecOf) -> None:
    assert identity_tags(spec_of()) == {
        "trackyard.kind": "run",
        "trackyard.stage": "stage2",
        "trackyard.parent_run": "1234567890ab",
        "trackyard.plan": "a" * 64,
        "trackyard.spec": spec_of().digest,
        "mlflow.source.git.commit": "d" * 40,
        "trackyard.snapshot.charts": "b" * 64,
        "trackyard.snapshot.clips": "c" * 64,
    }
    dirty = spec_of(code=CodeIdentity(commit="d" * 40, dirty_digest="e" * 64), image="sha256:1", parent=None)
    tags = identity_tags(dirty)
    assert (tags["trackyard.dirty"], tags["trackyard.image"]) == ("e" * 64, "sha256:1")
    assert "trackyard.parent_run" not in tags


def test_parameters_are_flat_texts(spec_of: SpecOf) -> None:
    assert describe(spec_of(), {}, PointCensus()).params == {
        "steps": "12",
        "optimiser.lr": "0.0001",
        "optimiser.betas": "[0.9, 0.95]",
        "name": "mini",
        "seed": "7",
        "model.id": "allenai/Molmo2-4B",
        "model.revision": "0" * 40,
    }


def test_attempts_are_processes_that_trained(spec_of: SpecOf) -> None:
    """What is told of a run afterwards has a spool of its own."""
    told = {"event": "status", "state": "finished", "timestamp": 1}
    parts = {"1": part({"event": "machine"}), "2": part({"event": "machine"}), "3": part(told)}
    description = describe(spec_of(), parts, PointCensus())
    assert description.params["steps"] == "12"
    assert description.tags["trackyard.attempts"] == "2"


def test_what_is_odd_is_shown(spec_of: SpecOf) -> None:
    census = PointCensus(nonfinite=[f"loss@{step}=nan" for step in range(12)], differences={"loss": 3})
    tags = describe(spec_of(), {"1": part(damaged=2)}, census).tags
    assert tags["trackyard.nonfinite"].startswith("12: loss@0=nan loss@1=nan")
    assert tags["trackyard.repeated_steps_differ"] == '{"loss": 3}'
    assert tags["trackyard.damaged_spool_lines"] == "2"
    clean = describe(spec_of(), {"1": part()}, PointCensus()).tags
    assert set(clean) - set(identity_tags(spec_of())) == {"trackyard.attempts"}


def test_the_later_tag_counts(spec_of: SpecOf) -> None:
    parts = {"1": part({"event": "tag", "values": {"a": "1"}}), "2": part({"event": "tag", "values": {"a": "2"}})}
    assert describe(spec_of(), parts, PointCensus()).tags["a"] == "2"


def test_data_sets_of_the_specification_and_of_the_run(spec_of: SpecOf) -> None:
    named = {"event": "dataset", "name": "charts", "digest": "b" * 64, "source": "hub:x@1", "context": "evaluation"}
    assert describe(spec_of(), {"1": part(named)}, PointCensus()).datasets == [
        DatasetFact(name="charts", digest="b" * 64, source="hub:x@1", context="evaluation"),
        DatasetFact(name="clips", digest="c" * 64, source=f"snapshot clips {'c' * 64}", context="training"),
    ]


def state(name: str, at: int) -> dict[str, Any]:
    return {"event": "status", "state": name, "timestamp": at}


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({}, ("RUNNING", None)),
        ({"1": part()}, ("RUNNING", None)),
        ({"1": part(state("running", 1), state("finished", 2))}, ("FINISHED", 2)),
        ({"1": part(state("failed", 3))}, ("FAILED", 3)),
        ({"1": part(state("stopped", 3))}, ("SCHEDULED", None)),
        ({"1": part(state("failed", 3)), "2": part()}, ("RUNNING", None)),
        ({"1": part(state("stopped", 3)), "2": part(state("running", 4), state("finished", 5))}, ("FINISHED", 5)),
    ],
)
def test_the_newest_attempt_says_how_the_run_stands(
    parts: dict[str, SpoolPart], expected: tuple[str, int | None]
) -> None:
    assert status(parts) == expected
