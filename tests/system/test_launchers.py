"""A stage under torchrun, DeepSpeed's launcher and Slurm's srun: one run, each thing once, stopped in order (F12).

The srun test wants a Slurm of its own on this machine (hpc spec section 3). Debian: apt-get install
--no-install-recommends slurm-wlm slurm-client slurm-wlm-basic-plugins munge; it is run as root.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster.slurm_cluster import SlurmCluster, lacking, slurm_cluster
from tests.system.repository import COMMAND, STEPS, Repository, Running, spooled
from trackyard.launch.processes import free_port
from trackyard.record.metrics_file import read_metrics

pytestmark = pytest.mark.system

BIN = Path(sys.executable).parent
STAGE = ("run", "molmo2", "stage2")
GRACE_S = 120.0
"""What a cluster gives between the signal and SIGKILL; half of it must do."""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    missing = lacking()
    if missing:
        pytest.skip(missing)
    with slurm_cluster(tmp_path_factory.mktemp("slurm")) as made:
        yield made


def _torchrun() -> list[str]:
    argv = [str(BIN / "torchrun"), "--nproc-per-node", "2", "--master-addr", "127.0.0.1", "--master-port"]
    return [*argv, str(free_port()), "-m", "trackyard", *STAGE]


def _deepspeed() -> list[str]:
    argv = [str(BIN / "deepspeed"), "--num_gpus", "2", "--master_port", str(free_port())]
    return [*argv, "--module", "trackyard", *STAGE]


def _repository(after_stage1: Repository, path: Path) -> Repository:
    path_variable = os.pathsep.join([str(BIN), os.environ["PATH"]])
    return after_stage1.copy(path).within(DS_ACCELERATOR="cpu", PATH=path_variable)


def _once(repository: Repository, reference: Repository, out: str) -> None:
    """Every step once, with the losses of one process; one table, one run, no stacks of anything gone wrong."""
    run = repository.run_directory()
    assert run.name == reference.run_directory().name
    found, expected = spooled(run, exact=False), spooled(reference.run_directory())
    assert sorted(found) == list(range(1, STEPS + 1))
    for step, values in expected.items():
        assert found[step]["train/step_tokens"] == values["train/step_tokens"]
        assert found[step]["train/loss"] == pytest.approx(values["train/loss"], abs=1e-4)
    assert out.count("run       ") == 1, out
    assert out.count("training loss, first -> last") == 1, out
    assert list((run / "stacks").iterdir()) == []
    metrics = read_metrics(repository.path / "artifacts/molmo2/stage2/metrics.json")["stage2"]
    assert metrics["train/steps"] == STEPS


def test_torchrun_is_stopped_by_its_agent_and_goes_on_as_deepspeed_starts_it(
    after_stage1: Repository, uninterrupted: Repository, tmp_path: Path
) -> None:
    """torchrun turns every exit code into 1, so the checkpoint is what counts."""
    repository = _repository(after_stage1, tmp_path / "root")
    with _started(repository, _torchrun()) as running:
        running.wait_for_line("train ")
        asked = time.monotonic()
        running.send(signal.SIGTERM)
        ended = running.end()
        assert time.monotonic() - asked < GRACE_S / 2
    assert ended.code == 1, ended
    assert "ranks     2 started by torchrun, 2 of them on this machine" in ended.out
    assert "StoppedEarly" in ended.err
    (stopped_at,) = repository.checkpoints()[-1:]
    assert 1 <= stopped_at < STEPS
    with _started(repository, _deepspeed()) as running:
        ended = running.end()
    assert ended.code == 0, ended
    assert "preflight" in ended.out
    _once(repository, uninterrupted, ended.out)


def test_srun_is_stopped_with_75(after_stage1: Repository, tmp_path: Path, slurm: SlurmCluster) -> None:
    repository = _repository(after_stage1, tmp_path / "root").within(**slurm.environment)
    with _started(repository, ["srun", "-n", "2", "--mem=6000", "--job-name=stage2", COMMAND, *STAGE]) as running:
        running.wait_for_line("train ")
        asked = time.monotonic()
        slurm.run("scancel", "--signal=USR1", "--name=stage2")
        ended = running.end()
        assert time.monotonic() - asked < GRACE_S / 2
    assert ended.code == 75, ended
    assert "ranks     2 started by srun, 2 of them on this machine" in ended.out
    assert ended.err.count("stopped: StoppedEarly") == 2, "each rank says it"
    assert 1 <= repository.checkpoints()[-1] < STEPS
    assert list((repository.run_directory() / "stacks").iterdir()) == []


def test_time_that_is_up_before_the_first_step_is_no_75(after_stage1: Repository, tmp_path: Path) -> None:
    repository = after_stage1.copy(tmp_path / "root")
    repository.edit(lambda values: values["engine"].update(max_hours=1e-9))
    parts = repository.stage2().error(128 + signal.SIGUSR1, "CutOff")
    assert parts["what"] == "stopped by the end of its time before the run was opened"
    assert not list(repository.path.glob("runs/molmo2/stage2/*/checkpoints/*"))


def test_at_the_end_of_memory_and_of_time_what_was_saved_is_whole(after_stage1: Repository, tmp_path: Path) -> None:
    """The first ends with 1 (reliability F29), the second goes on from its checkpoint, saves and ends with 75."""
    repository = after_stage1.copy(tmp_path / "root")
    script = tmp_path / "ends.py"
    script.write_text(_ENDS)
    with _started(repository, [sys.executable, str(script), "memory", "3", *STAGE]) as running:
        parts = running.end().error(1, "TrackyardError")
    assert parts["what"].startswith("host memory is used up (the limit is ")
    assert "DefaultCPUAllocator" in parts["what"]
    (stacks,) = (repository.run_directory() / "stacks").iterdir()
    assert "DefaultCPUAllocator" in stacks.read_text()
    assert repository.checkpoints() == [2]
    with _started(repository, [sys.executable, str(script), "time", "5", *STAGE]) as running:
        ended = running.end()
    assert f"train     step 3/{STEPS}" in ended.out
    assert ended.error(75, "StoppedEarly")["what"].startswith("stopped as asked after step ")
    assert 5 <= repository.checkpoints()[-1] < STEPS


_ENDS = """
import mmap, resource, sys, time
from contextlib import ExitStack
import torch
from trackyard.cli.main import main
from trackyard.launch.signals import stopping_at
from trackyard.train.engine import Engine

end, step = sys.argv.pop(1), int(sys.argv.pop(1))
taken = Engine.step
over = ExitStack()

def then(self, number, *share):
    result = taken(self, number, *share)
    if number + 1 == step and end == "time":
        over.enter_context(stopping_at(time.monotonic()))
    elif number + 1 == step:
        used = int(open("/proc/self/statm").read().split()[0]) * mmap.PAGESIZE
        resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20),) * 2)
        torch.empty(1 << 30)
    return result

Engine.step = then
with over:
    main()
"""


@contextmanager
def _started(repository: Repository, argv: Sequence[str]) -> Iterator[Running]:
    """Any program, in the repository; what it started ends with it."""
    running = Running(repository, argv)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.send(signal.SIGTERM)  # a launcher ends its ranks, which SIGKILL would orphan
        try:
            running.process.wait(30)
        finally:
            running.kill()
