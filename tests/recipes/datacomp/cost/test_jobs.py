"""The jobs are those of pipelines/datacomp/dvc.yaml, and each waits for all that its stage reads."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import pytest
import yaml

from tests.recipes.datacomp.cost.studies import ROOT, made, profile
from trackyard.estimate.jobs import job_name
from trackyard.recipes.datacomp.cost.jobs import chain
from trackyard.recipes.datacomp.parameters import DatacompParameters

ARTIFACTS = PurePosixPath("artifacts/datacomp")


def stages() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "pipelines" / "datacomp" / "dvc.yaml").read_text())["stages"]
    return found


def folders(paths: list[Any]) -> set[str]:
    """First folder below artifacts/datacomp of each path."""
    names = [PurePosixPath(next(iter(path)) if isinstance(path, dict) else path) for path in paths]
    return {name.relative_to(ARTIFACTS).parts[0] for name in names if name.is_relative_to(ARTIFACTS)}


@pytest.mark.parametrize("study", [made(), profile("theworld-100k")], ids=["made", "theworld-100k"])
def test_jobs_are_the_stages_of_the_pipeline(study: DatacompParameters) -> None:
    lists = {name: [str(one) for one in getattr(study, name)] for name in ("runs", "arms", "seeds")}
    expected = []
    for name, stage in stages().items():
        keys = [""]
        for values in stage.get("matrix", {}).values():
            keys = [f"{key}-{one}" if key else one for key in keys for one in lists[values[len("${datacomp.") : -1]]]
        expected += [job_name(name, key or None) for key in keys]
    found = [job_name(step.stage, step.item) for step in chain(study)]
    assert sorted(found) == sorted(set(expected) - {"estimate"})


def test_every_job_waits_for_what_its_stage_reads() -> None:
    steps = chain(made())
    names: list[str] = []
    for step in steps:
        assert set(step.waits_for) <= set(names), f"{step} waits for what comes later"
        names.append(job_name(step.stage, step.item))
    writer = {folder: name for name, stage in stages().items() for folder in folders(stage["outs"])}
    for step in steps:
        read = {writer[folder] for folder in folders(stages()[step.stage]["deps"]) if folder != "parameters"}
        assert {name.partition("@")[0] for name in step.waits_for} == read, step.stage
