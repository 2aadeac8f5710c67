"""The training part of a stage, on one rank: build, take the steps, write the final weights.

Source: design sections 1, 4 and 6; performance spec section 6; reliability spec F20.
"""

from __future__ import annotations

import contextlib
import gc
import getpass
import os
from collections.abc import Callable, Iterator, Mapping

import torch
from safetensors import SafetensorError

from trackyard.durable import atomic_directory
from trackyard.errors import CheckpointError, StoppedEarly
from trackyard.recipes.running.fitting import OutOfDeviceMemory, fit_smaller, fitted
from trackyard.recipes.running.job import Job
from trackyard.record.rundir import Attempt, RunDirectory
from trackyard.record.spool import Spool
from trackyard.train.engine import Engine
from trackyard.train.guard import Guard
from trackyard.train.loop import Course, Loop, WentBack
from trackyard.train.machine_usage import MachineUsage, used_gpus
from trackyard.train.parameters import EngineParameters
from trackyard.train.ranks import Ranks, join_ranks, local_world_size, rank

FINAL = "final"
"""Folder of the run directory that holds the trained model; it exists only when training is over."""


def train(
    job: Job,
    directory: RunDirectory,
    attempt: Attempt,
    *,
    should_stop: Callable[[], bool],
    progress: Callable[[int], None],
    say: Callable[[str], None],
) -> None:
    """Train from the newest valid checkpoint to the last step, then write the final weights.

    Raises StoppedEarly after a complete save when `should_stop` turns true on any rank.
    """
    given = job.engine
    ranks = join_ranks(given.threads, context=given.context_degree)
    engine: Engine | None = None
    with _spool(directory, attempt) as spool:
        machine: Callable[[], Mapping[str, float]] = dict
        if spool is not None:
            spool.machine(ranks.world, _device_name(), attempt.host)
            spool.tag("mlflow.user", _user())
            # Energy is of all GPUs of the run, or unknown: those of other nodes are not seen here.
            here = local_world_size()
            machine = MachineUsage(used_gpus(here) if here == ranks.world else None).metrics
        while engine is None:
            settings = fitted(given, directory.path)
            try:
                engine = _train(
                    job,
                    directory,
                    ranks,
                    settings,
                    spool,
                    machine,
                    should_stop=should_stop,
                    progress=progress,
                    say=say,
                )
            except WentBack:
                # Built anew from the checkpoint that the rollback names, once the old engine is gone.
                gc.collect()
            except torch.OutOfMemoryError as error:
                fit_smaller(given, settings, directory.path, error)
                _let_go(ranks, error)
        if spool is not None:
            spool.machine_done()
    weights = engine.weights()
    if ranks.rank == 0 and not (directory.path / FINAL).exists():
        _write_final(job, directory, weights)
    ranks.barrier()


def _train(
    job: Job,
    directory: RunDirectory,
    ranks: Ranks,
    settings: EngineParameters,
    spool: Spool | None,
    machine: Callable[[], Mapping[str, float]],
    *,
    should_stop: Callable[[], bool],
    progress: Callable[[int], None],
    say: Callable[[str], None],
) -> Engine:
    """Build an engine and take it to the last step."""
    torch.manual_seed(job.seed)
    guard = Guard(job.guard, device=_device())
    engine = job.build(settings, ranks, guard)
    track = job.share(engine, ranks, settings, directory, spool)
    course = Course(
        directory=directory.path,
        identity={"run_id": job.spec.run_id, "plan": job.plan_fingerprint},
        steps=job.steps,
        save_every=job.save_every,
        engine=settings,
        guard=job.guard,
        again=job.again,
    )
    Loop(engine, guard, track, course, machine=machine).run(should_stop=should_stop, progress=progress, say=say)
    return engine


def _let_go(ranks: Ranks, error: torch.OutOfMemoryError) -> None:
    """Free what the failed step held. With other ranks, which wait in a collective, all have to start again."""
    if ranks.world > 1:
        raise OutOfDeviceMemory(
            what=f"rank {ranks.rank} of {ranks.world} ran out of device memory",
            why="the other ranks wait for it in a collective, so all of them have to start again",
            fix="run the same command again: it goes on with the smaller settings that are in fit.json of the run",
        ) from error
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _device() -> torch.device:
    """Where DeepSpeed puts the model of this rank."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def _user() -> str:
    """Whose run it is. An image may know no name of its user."""
    try:
        return getpass.getuser()
    except KeyError:
        return f"uid {os.getuid()}"


def _device_name() -> str:
    """What the ranks train on, as its driver names it; a processor is no more than that."""
    device = _device()
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def _write_final(job: Job, directory: RunDirectory, weights: dict[str, torch.Tensor]) -> None:
    try:
        with atomic_directory(directory.path / FINAL) as partial:
            job.write_final(partial, weights)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            what=f"the final weights {directory.path / FINAL} could not be written: {error}",
            why="the stage has no result yet; the checkpoint of the last step is untouched",
            fix=f"free space or restore write access (`df -h {directory.path}`), then run the same command again",
        ) from error


@contextlib.contextmanager
def _spool(directory: RunDirectory, attempt: Attempt) -> Iterator[Spool | None]:
    """The spool on rank 0, which also says how the attempt ended; the other ranks record nothing."""
    if rank() != 0:
        yield None
        return
    with Spool(directory.spool, attempt) as spool:
        try:
            yield spool
        except StoppedEarly:
            spool.status("stopped")
            raise
        except Exception:
            # Whatever it is: a lost peer is a plain RuntimeError here, and gets its words further out.
            spool.status("failed")
            raise
