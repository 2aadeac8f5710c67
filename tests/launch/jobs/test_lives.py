"""Which life of which job a batch process is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.launch.jobs.graphs import job, kept
from trackyard.errors import ConfigError, EnvironmentLacking
from trackyard.launch.jobs.lives import Life, job_of, this_life


def test_the_first_life_has_no_restart_count() -> None:
    found = this_life({"SLURM_JOB_ID": "12", "SLURM_JOB_NODELIST": "node[1-2]"})
    assert found == Life(slurm_id="12", number=1, nodes="node[1-2]")
    assert this_life({"SLURM_JOB_ID": "12", "SLURM_RESTART_COUNT": "2"}).number == 3


def test_a_task_of_an_array_goes_by_array_and_index() -> None:
    variables = {"SLURM_JOB_ID": "15", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3"}
    assert this_life(variables).slurm_id == "12_3"


def test_a_process_of_no_job_is_refused() -> None:
    with pytest.raises(EnvironmentLacking, match="SLURM_JOB_ID is not set"):
        this_life({})


def test_the_job_is_the_one_of_the_name_or_of_the_index(tmp_path: Path) -> None:
    graph = kept(tmp_path, job("a"), job("d-x", array="d", index=0), job("d-y", array="d", index=4)).graph
    assert job_of(graph, "a", {}).name == "a"
    assert job_of(graph, "d", {"SLURM_ARRAY_TASK_ID": "4"}).name == "d-y"
    for name, variables in (("d", {"SLURM_ARRAY_TASK_ID": "1"}), ("d", {}), ("d-x", {}), ("b", {})):
        with pytest.raises(ConfigError, match="no job"):
            job_of(graph, name, variables)
