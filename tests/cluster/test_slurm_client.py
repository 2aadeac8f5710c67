"""What is rendered, submitted and read back, on a real scheduler; and the place of each rank in a step of two nodes."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster.slurm_cluster import SlurmCluster
from tests.launch.slurm.batch_jobs import batch_job
from trackyard.errors import ConfigError
from trackyard.launch.between_nodes.nccl_log import has_verbs
from trackyard.launch.launched import launched
from trackyard.launch.slurm.batch import Request
from trackyard.launch.slurm.client import SlurmClient
from trackyard.launch.slurm.script import render
from trackyard.launch.slurm.states import Seen
from trackyard.launch.slurm.steps import srun_argv
from trackyard.runner import SystemRunner

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parents[2]
SIZE = Request(
    partition="gpu", account=None, nodes=1, tasks_per_node=1, gpus_per_node=0, cores_per_task=1,
    memory_mb_per_node=200, minutes=5,
)  # fmt: skip
HOSTILE = "two words $HOME `id` \"quoted\" 'single' \\ # %j é"


def test_a_script_is_what_slurm_reads(cluster: SlurmCluster, tmp_path: Path) -> None:
    """Names, quotes, environment and command arrive as they were given, and no token of the submission does."""
    client = _client(cluster, HF_TOKEN="canary-7f3a9", SBATCH_PARTITION="nowhere", SBATCH_EXPORT="ALL")
    job = _submit(
        client, tmp_path, "hostile.1",
        command=("bash", "-c", 'printf "%s\\n" "$1" "$NOTE" "$PWD" "${SBATCH_PARTITION-unset}"; env', "sh", HOSTILE),
        exports=(("NOTE", HOSTILE), ("PATH", os.environ["PATH"])),
        options=(("comment", HOSTILE),), output=tmp_path / "log of %x.txt",
    )  # fmt: skip
    assert _until_over(client, job) == Seen(state="done", exit_code=0, source="controller", restarts=0)
    lines = (tmp_path / "log of hostile.1.txt").read_text().splitlines()
    assert lines[:4] == [HOSTILE, HOSTILE, str(tmp_path), "unset"]
    assert not any("canary" in line for line in lines)
    told = cluster.run("scontrol", "show", "job", "-o", job)
    assert f"Comment={HOSTILE} " in told
    assert "Partition=gpu" in told
    # The submitter died before it wrote the id down: the name says that it was submitted.
    assert client.submit(tmp_path / "hostile.1.sh") == job
    with pytest.raises(ConfigError, match="Requested node configuration is not available"):
        _submit(client, tmp_path, "large.1", request=_of(gpus_per_node=5))


def test_states_of_arrays_dependants_and_requeued_jobs(cluster: SlurmCluster, tmp_path: Path) -> None:
    client = _client(cluster)
    array = _submit(
        client, tmp_path, "array.1", array="0-2%2", command=("bash", "-c", "exit $((SLURM_ARRAY_TASK_ID * 3))")
    )
    after = _submit(client, tmp_path, "after.1", after=(f"{array}_0", f"{array}_1"), command=("true",))
    held = _submit(client, tmp_path, "held.1", command=("sleep", "600"))
    tasks = [f"{array}_{index}" for index in range(3)]
    for one in (*tasks, after):
        _until_over(client, one)
    found = client.seen([*tasks, after])
    assert [(found[one].state, found[one].exit_code) for one in tasks] == [("done", 0), ("failed", 3), ("failed", 6)]
    assert (found[after].state, found[after].reason) == ("cancelled", "DependencyNeverSatisfied")
    _until(lambda: client.seen([held])[held].state == "running")
    client.requeue(held)
    _until(lambda: client.seen([held])[held].restarts == 1)
    assert client.seen([held])[held].is_alive
    client.cancel([held])
    assert _until_over(client, held).state == "cancelled"
    client.cancel([held])
    assert client.seen(["999999"])["999999"].state == "unknown"


def test_every_rank_of_a_step_knows_its_place_and_its_gpus(cluster: SlurmCluster, tmp_path: Path) -> None:
    size = _of(nodes=2, tasks_per_node=2, gpus_per_node=2)
    client = _client(cluster)
    step = srun_argv(size, ["bash", "-c", 'env -0 > "ranks/$SLURM_PROCID"'])
    (tmp_path / "ranks").mkdir()
    exports = (("PATH", os.environ["PATH"]), ("NCCL_SOCKET_IFNAME", "lo"))
    job = _submit(client, tmp_path, "ranks.1", request=size, command=tuple(step), exports=exports)
    assert _until_over(client, job).state == "done", (tmp_path / "log.txt").read_text()
    places = []
    for number in range(4):
        text = (tmp_path / "ranks" / str(number)).read_text()
        environment = dict(entry.split("=", 1) for entry in text.split("\0") if entry)
        assert environment["NCCL_SOCKET_IFNAME"] == "lo"
        assert environment["CUDA_VISIBLE_DEVICES"] == "0,1"
        found = launched(environment)
        assert found is not None
        places.append(found)
    assert [(one.rank, one.local_rank, one.world, one.local_world) for one in places] == [
        (0, 0, 4, 2),
        (1, 1, 4, 2),
        (2, 0, 4, 2),
        (3, 1, 4, 2),
    ]
    assert {(one.host, one.port) for one in places} == {(cluster.nodes[0], places[0].port)}


def test_a_smoke_test_between_two_nodes_names_what_is_missing(cluster: SlurmCluster, tmp_path: Path) -> None:
    """By gloo, because there is no GPU: the bandwidth is real, and what the site says of InfiniBand is not proved."""
    for name in ("dvc.yaml", "params.yaml"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "sites").mkdir()
    for name, network in (("plain", "min_gbyte_per_s: 0.000001"), ("fast", "transport: IB, min_gbyte_per_s: 100000")):
        partition = "default_partition: all\npartitions: {all: {device: any, cores_per_node: 2}}\n"
        (tmp_path / "sites" / f"{name}.yaml").write_text(f"name: {name}\n{partition}network: {{{network}}}\n")
    # The names of the two nodes are Slurm's invention: no resolver knows them.
    exports = (("PATH", os.environ["PATH"]), ("MASTER_ADDR", "127.0.0.1"))
    client, size = _client(cluster), _of(nodes=2, memory_mb_per_node=2000)
    smoke = "exec {} --gib 0.01 --site {}"
    step = shlex.join(srun_argv(size, [sys.executable, "-m", "trackyard", "smoke"]))
    ended = {}
    for site in ("plain", "fast"):
        ended[site] = _submit(
            client, tmp_path, f"{site}.1", request=size, command=("bash", "-c", smoke.format(step, site)),
            exports=exports, output=tmp_path / f"{site}.txt",
        )  # fmt: skip
    for site, code in (("plain", 0), ("fast", 1)):
        found = _until_over(client, ended[site])
        assert found.exit_code == code, (tmp_path / f"{site}.txt").read_text()
    proved = (tmp_path / "plain.txt").read_text()
    assert f"ranks       2 on {', '.join(cluster.nodes)}, by gloo\n" in proved
    assert "transport   tcp   (the site says nothing of it)\n" in proved
    assert "proved\n" in proved
    stopped = (tmp_path / "fast.txt").read_text()
    assert "missing     the ranks talk by gloo over tcp: they see no GPU\n" in stopped
    assert "GB/s, and site fast says at least 100000 GB/s\n" in stopped
    assert ("libibverbs1 rdma-core" in stopped) == (not has_verbs())


def _client(cluster: SlurmCluster, **more: str) -> SlurmClient:
    return SlurmClient(SystemRunner(), environment={**os.environ, **cluster.environment, **more})


def _of(**changes: int) -> Request:
    return Request(**{name: changes.get(name, getattr(SIZE, name)) for name in Request.__slots__})


def _submit(client: SlurmClient, folder: Path, name: str, **changes: object) -> str:
    script = folder / f"{name}.sh"
    given = {"request": SIZE, "cwd": folder, "output": folder / "log.txt", "lead_s": 60, **changes}
    script.write_text(render(batch_job(name=name, **given)))
    return client.submit(script)


def _until(holds: Callable[[], bool]) -> None:
    limit = time.monotonic() + 240
    while not holds():
        assert time.monotonic() < limit
        time.sleep(0.2)


def _until_over(client: SlurmClient, job: str) -> Seen:
    _until(lambda: client.seen([job])[job].state not in ("pending", "running", "requeued", "unknown"))
    return client.seen([job])[job]
