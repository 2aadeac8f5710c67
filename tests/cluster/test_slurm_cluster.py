"""The cluster of these tests is one: what it grants, refuses, limits, preempts and requeues, and leaves behind."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.cluster.slurm_cluster import CGROUPS, SlurmCluster, lacking, slurm_cluster

pytestmark = pytest.mark.system


_LIFE = 'echo "life ${SLURM_RESTART_COUNT:-0}"\n[ -z "$SLURM_RESTART_COUNT" ] || exit 0\n'
_REQUEUE = "scontrol requeue $SLURM_JOB_ID\nsleep 60"


def _said(out: Path) -> list[str]:
    """Without what Slurm itself writes there."""
    return [line for line in out.read_text().splitlines() if line.startswith(("life", "ready", "asked", "script"))]


def test_jobs_share_two_nodes_and_their_devices(cluster: SlurmCluster) -> None:
    seen = cluster.run(
        "srun", "--nodes=2", "--ntasks-per-node=2", "--gpus-per-task=1", "--cpus-per-task=1", "bash", "-c",
        'echo "$SLURMD_NODENAME $SLURM_PROCID $CUDA_VISIBLE_DEVICES"',
    )  # fmt: skip
    first, second = cluster.nodes
    assert sorted(line.split()[:2] for line in seen.splitlines()) == [
        [first, "0"], [first, "1"], [second, "2"], [second, "3"],
    ]  # fmt: skip
    assert all(len(line.split()) == 3 for line in seen.splitlines()), seen


def test_what_no_node_has_is_refused_at_once(cluster: SlurmCluster) -> None:
    with pytest.raises(AssertionError, match="Requested node configuration is not available"):
        cluster.run("srun", "--gpus-per-node=5", "true")


def test_memory_is_limited(cluster: SlurmCluster, tmp_path: Path) -> None:
    if not CGROUPS:
        pytest.skip("no cgroup v1 hierarchies at /sys/fs/cgroup: memory limits are not enforced here")
    found = cluster.batch(tmp_path, "python3 -c \"'x' * (400 << 20)\"", "--mem=100")
    assert cluster.wait_for_job(found, "OUT_OF_MEMORY", "COMPLETED", "FAILED")["JobState"] == "OUT_OF_MEMORY"


def test_a_rival_preempts_and_the_victim_starts_again(cluster: SlurmCluster, tmp_path: Path) -> None:
    """SIGTERM comes to the steps; the batch script is told nothing before the grace is over."""
    step = "srun bash -c 'trap \"echo asked; exit 75\" TERM; echo ready; sleep 200 & wait'"
    text = f"trap 'echo script' TERM\n{_LIFE}{step}\n{_REQUEUE}"
    victim = cluster.batch(tmp_path, text, "--partition=preempt", "--exclusive", "--requeue")
    out = tmp_path / f"out-{victim}.txt"
    cluster.daemons.wait(lambda: out.exists() and "ready" in _said(out), "the victim runs")
    cluster.run("srun", "--partition=gpu", "--nodes=2", "--exclusive", "true")
    cluster.wait_for_job(victim, "COMPLETED")
    assert _said(out)[:3] == ["life 0", "ready", "asked"]
    assert _said(out)[-1] == "life 1"


def test_without_accounting_sacct_says_so(cluster: SlurmCluster) -> None:
    with pytest.raises(AssertionError, match="accounting storage is disabled"):
        cluster.run("sacct")


def test_nothing_of_it_stays(tmp_path_factory: pytest.TempPathFactory) -> None:
    missing = lacking()
    if missing:
        pytest.skip(missing)
    folder = tmp_path_factory.mktemp("brief")
    with slurm_cluster(folder) as made:
        made.run("sbatch", "--wrap=sleep 300", f"--output={folder}/out.txt")
        made.daemons.wait(lambda: "R" in made.run("squeue", "-h", "-o", "%t"), "the job runs")
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(folder) not in left
    assert not any(Path("/sys/fs/cgroup").glob(f"*/slurm_{made.nodes[0]}"))
