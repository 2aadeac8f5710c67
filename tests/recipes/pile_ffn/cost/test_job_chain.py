"""The chain of jobs is that of pipelines/pile_ffn/dvc.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from trackyard.estimate.jobs import job_name
from trackyard.recipes.pile_ffn.cost.job_chain import chain
from trackyard.recipes.pile_ffn.parameters import load_pile_ffn

ROOT = Path(__file__).resolve().parents[4]
PIPELINE = ROOT / "pipelines" / "pile_ffn" / "dvc.yaml"


def named(profile: str) -> list[str]:
    steps = chain(load_pile_ffn(ROOT / "profiles" / f"{profile}.yaml"))
    found: list[str] = []
    for step in steps:
        name = job_name(step.stage, step.item)
        assert set(step.waits_for) <= set(found), f"{name} waits for what comes later"
        found.append(name)
    return found


@pytest.mark.parametrize("profile", ["mini", "pythia-1.4b"])
def test_jobs_are_the_stages_of_the_pipeline(profile: str) -> None:
    """The matrix of every stage, expanded as DVC names its items."""
    parameters = load_pile_ffn(ROOT / "profiles" / f"{profile}.yaml")
    lists = {
        name: [str(one) for one in getattr(parameters, name)] for name in ("arms", "degraded", "measured", "seeds")
    }
    expected = []
    for name, stage in yaml.safe_load(PIPELINE.read_text())["stages"].items():
        keys = [""]
        for values in stage.get("matrix", {}).values():
            keys = [f"{key}-{one}" if key else one for key in keys for one in lists[values[len("${pile_ffn.") : -1]]]
        expected += [name if not key else f"{name}@{key}" for key in keys]
    assert sorted(named(profile)) == sorted(set(expected) - {"estimate"})


def test_the_default_study_is_41_jobs() -> None:
    found = named("pythia-1.4b")
    assert len(found) == len(set(found)) == 4 + 18 + 1 + 8 + 8 + 1 + 1
    assert found[0] == "fetch"
    assert found[-1] == "aggregate"
