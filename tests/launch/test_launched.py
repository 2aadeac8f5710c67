"""Who am I: the variables of torchrun, DeepSpeed's launcher and srun, as these programs set them."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.errors import ConfigError, EnvironmentLacking
from trackyard.launch.launched import Launched, adopt, alone, first_host, launched, require_world, without_local_rank

TORCHRUN = {
    "RANK": "3",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "4",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "10.0.0.1",
    "MASTER_PORT": "29500",
    "TORCHELASTIC_RUN_ID": "none",
    "TORCHELASTIC_RESTART_COUNT": "2",
    "TORCHELASTIC_USE_AGENT_STORE": "True",
}
DEEPSPEED = {
    "RANK": "1",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "2",
    "LOCAL_SIZE": "2",
    "CROSS_RANK": "0",
    "CROSS_SIZE": "1",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
}
SRUN = {  # read from Slurm 22.05
    "SLURM_JOB_ID": "41",
    "SLURM_STEP_ID": "0",
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "1",
    "SLURM_NNODES": "2",
    "SLURM_JOB_NODELIST": "gpu-[003-004]",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_NODELIST": "gpu-[003-004]",
    "SLURM_STEP_TASKS_PER_NODE": "3,1",
}


def _of(environment: dict[str, str], **changes: str | None) -> Launched | None:
    changed: dict[str, Any] = environment | changes
    return launched({name: value for name, value in changed.items() if value is not None})


def test_torchrun() -> None:
    assert _of(TORCHRUN) == Launched(
        by="torchrun", rank=3, world=4, local_rank=1, local_world=2, host="10.0.0.1", port=29500, restart=2
    )


def test_deepspeed() -> None:
    assert _of(DEEPSPEED) == Launched(
        by="the launcher (RANK, WORLD_SIZE)", rank=1, world=2, local_rank=1, local_world=2, host="127.0.0.1", port=29500
    )


def test_srun() -> None:
    found = _of(SRUN)
    assert found is not None
    assert (found.by, found.rank, found.world, found.local_rank, found.local_world) == ("srun", 3, 4, 0, 1)
    assert found.host == "gpu-003"
    assert _of(SRUN, SLURM_PROCID="0", SLURM_NODEID="0").port == found.port  # type: ignore[union-attr]
    # Another job, and another step of this one, meet elsewhere; no kernel gives these ports to others.
    ports = {_of(SRUN, SLURM_JOB_ID=job, SLURM_STEP_ID=step).port for job in "123" for step in "012"}  # type: ignore[union-attr]
    assert len(ports) == 9
    assert all(15_000 <= port < 30_000 for port in ports)
    assert _of(SRUN, MASTER_ADDR="head", MASTER_PORT="1234").variables()["MASTER_ADDR"] == "head"  # type: ignore[union-attr]


def test_srun_on_one_node_needs_no_name_of_it() -> None:
    found = _of(SRUN, SLURM_STEP_NUM_NODES="1", SLURM_STEP_TASKS_PER_NODE="4", SLURM_LOCALID="3")
    assert found is not None
    assert (found.host, found.local_world) == ("127.0.0.1", 4)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"RANK": "0", "WORLD_SIZE": "1"},  # what a lone process leaves in its environment
        {"SLURM_JOB_ID": "41", "SLURM_PROCID": "0", "SLURM_NTASKS": "4"},  # the script of a batch job
        SRUN | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"},  # one task that starts its own ranks
    ],
)
def test_a_process_that_was_started_alone(environment: dict[str, str]) -> None:
    assert launched(environment) is None


def test_several_tasks_that_each_think_they_are_alone_are_refused() -> None:
    with pytest.raises(EnvironmentLacking) as raised:
        _of(SRUN, RANK="0", WORLD_SIZE="1")
    assert raised.value.what == "WORLD_SIZE=1, and srun started 4 tasks"
    assert _of(SRUN, RANK="0", WORLD_SIZE="1", SLURM_STEP_NUM_TASKS="1") is None


def test_torchrun_inside_of_srun_counts() -> None:
    found = _of(SRUN | TORCHRUN)
    assert found is not None
    assert (found.by, found.rank, found.world) == ("torchrun", 3, 4)


@pytest.mark.parametrize(
    ("environment", "changes", "said"),
    [
        (TORCHRUN, {"MASTER_ADDR": None}, "started by torchrun, and MASTER_ADDR is not set"),
        (TORCHRUN, {"WORLD_SIZE": None}, "WORLD_SIZE is not set"),
        (TORCHRUN, {"RANK": None}, "RANK is not set"),
        (TORCHRUN, {"RANK": "three"}, "RANK is 'three'"),
        (TORCHRUN, {"RANK": "-1"}, "RANK is '-1'"),
        (TORCHRUN, {"RANK": "4"}, "torchrun says rank 4 of 4"),
        (TORCHRUN, {"LOCAL_WORLD_SIZE": "5"}, "on this machine 1 of 5"),
        (DEEPSPEED, {"LOCAL_SIZE": None}, "LOCAL_SIZE is not set"),
        (SRUN, {"SLURM_PROCID": None}, "started by srun, and SLURM_PROCID is not set"),
        (SRUN, {"SLURM_STEP_NODELIST": None, "SLURM_JOB_NODELIST": None}, "SLURM_JOB_NODELIST is not set"),
        (SRUN, {"SLURM_STEP_TASKS_PER_NODE": "3,2"}, "SLURM_STEP_TASKS_PER_NODE is '3,2'"),
        (SRUN, {"SLURM_STEP_TASKS_PER_NODE": "many"}, "SLURM_STEP_TASKS_PER_NODE is 'many'"),
        (SRUN, {"SLURM_STEP_TASKS_PER_NODE": None}, "SLURM_NTASKS_PER_NODE is not set"),
    ],
)
def test_half_an_environment_is_refused_by_name(
    environment: dict[str, str], changes: dict[str, str | None], said: str
) -> None:
    with pytest.raises(EnvironmentLacking) as raised:
        _of(environment, **changes)
    assert said in raised.value.what
    assert raised.value.exit_code == 3


def test_the_number_of_processes_must_be_the_launchers() -> None:
    found = _of(TORCHRUN)
    assert found is not None
    for processes in (1, 2, 4):
        require_world(found, processes)
    with pytest.raises(ConfigError, match="processes=3 in the parameters, and torchrun started 4 ranks, 2 of them"):
        require_world(found, 3)


def test_adopted_variables_are_those_that_torch_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    found = _of(SRUN)
    assert found is not None
    for name in found.variables():
        monkeypatch.setenv(name, "before")
    adopt(found)
    assert launched(os.environ) is not None
    assert {name: os.environ[name] for name in found.variables()} == {
        "RANK": "3",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "4",
        "LOCAL_WORLD_SIZE": "1",
        "MASTER_ADDR": "gpu-003",
        "MASTER_PORT": str(found.port),
    }
    assert not any(name.startswith("TORCHELASTIC") for name in alone(TORCHRUN))


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("node1", "node1"),
        ("node1,node2", "node1"),
        ("node[1-2]", "node1"),
        ("gpu-[003-005,7],other", "gpu-003"),
        ("n[7,9-10].site", "n7.site"),
        ("rack[0-1]node[2,4]", "rack0node2"),
    ],
)
def test_first_host(nodes: str, first: str) -> None:
    assert first_host(nodes) == first


@given(st.from_regex(r"[a-z][a-z0-9.-]{0,8}", fullmatch=True), st.lists(st.integers(1, 99), min_size=1, max_size=5))
def test_first_host_of_any_list(prefix: str, numbers: list[int]) -> None:
    listed = f"{prefix}[{','.join(f'{number:02d}' for number in numbers)}]"
    assert first_host(listed) == first_host(f"{listed},x[1-9]") == f"{prefix}{numbers[0]:02d}"


def test_an_empty_list_names_no_host() -> None:
    with pytest.raises(EnvironmentLacking, match="names no host"):
        first_host("")


def test_deepspeeds_argument_is_dropped_and_no_other() -> None:
    assert without_local_rank(["--local_rank=1", "run", "molmo2"]) == ["run", "molmo2"]
    assert without_local_rank(["--local-rank=0"]) == []
    assert without_local_rank(["run", "--local_rank=1"]) == ["run", "--local_rank=1"]
    assert without_local_rank([]) == []
