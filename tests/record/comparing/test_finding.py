"""Runs by what people type."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.record.made_runs import Life, make_run
from trackyard.digest import digest_json
from trackyard.errors import ConfigError
from trackyard.record.comparing.finding import find_runs
from trackyard.record.lineage.document import LINEAGE, SCHEMA, Lineage
from trackyard.record.rundir import RunDirectory
from trackyard.schema import write_document


@pytest.fixture
def runs(tmp_path: Path) -> list[RunDirectory]:
    return [make_run(tmp_path / "runs", Life(), seed=seed, track=track) for seed in range(9) for track in ("a", "b")]


def test_an_id_its_beginning_its_whole_name_and_its_directory_are_the_run(
    tmp_path: Path, runs: list[RunDirectory]
) -> None:
    run = runs[3]
    label = "/".join(run.path.parts[-3:])
    ids = [one.spec.run_id for one in runs]
    short = next(run.spec.run_id[:n] for n in range(1, 13) if sum(i.startswith(run.spec.run_id[:n]) for i in ids) == 1)
    names = [run.spec.run_id, short, label, label[:-4], f"{label}/", str(run.path)]
    assert find_runs(names, tmp_path / "runs") == [run.path] * len(names)


def test_a_whole_name_is_meant_also_where_another_goes_on_from_it(tmp_path: Path, runs: list[RunDirectory]) -> None:
    run = runs[3]
    shutil.copytree(run.path, run.path.with_name(f"{run.path.name}.old"))
    for name in (run.spec.run_id, "/".join(run.path.parts[-3:])):
        assert find_runs([name], tmp_path / "runs") == [run.path]
    with pytest.raises(ConfigError, match="is the beginning of 2 runs"):
        find_runs([run.spec.run_id[:-1]], tmp_path / "runs")


def test_a_folder_with_a_lineage_is_the_run_that_made_it(tmp_path: Path, runs: list[RunDirectory]) -> None:
    export = tmp_path / "export"
    export.mkdir()
    body: dict[str, Any] = {name: {} for name in Lineage.model_fields} | {
        "run_id": runs[5].spec.run_id,
        "spec": runs[5].spec.body,
        "parent": None,
        "plan": None,
        "files": None,
    }
    write_document(export / LINEAGE, SCHEMA, {"digest": digest_json(body), "lineage": body})
    assert find_runs([str(export), str(export / LINEAGE)], tmp_path / "runs") == [runs[5].path] * 2
    with pytest.raises(ConfigError, match=f"was made by run {runs[5].spec.run_id}, which is not on this machine"):
        find_runs([str(export)], tmp_path / "other")


def test_an_unknown_run_names_the_nearest_first(tmp_path: Path, runs: list[RunDirectory]) -> None:
    run_id = runs[0].spec.run_id
    wrong = run_id[:-1] + ("0" if run_id[-1] != "0" else "1")
    with pytest.raises(ConfigError, match=f"no run {wrong}") as raised:
        find_runs([wrong], tmp_path / "runs")
    assert raised.value.exit_code == 2
    assert raised.value.fix.endswith(run_id)
    with pytest.raises(ConfigError, match="no run a/stage9/0") as raised:
        find_runs(["a/stage9/0"], tmp_path / "runs")
    assert "nearest of 18 runs: a/stage2/" in raised.value.why
    with pytest.raises(ConfigError, match="no run x") as raised:
        find_runs(["x"], tmp_path / "nothing")
    assert raised.value.why == "there are no runs here"


def test_a_beginning_of_several_is_ambiguous(tmp_path: Path, runs: list[RunDirectory]) -> None:
    with pytest.raises(ConfigError, match=r"is the beginning of 9 runs: a/stage2/.* and 1 more"):
        find_runs(["a/stage2/"], tmp_path / "runs")
