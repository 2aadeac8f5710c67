"""A training stage from start to end, whatever its track: in this process, in ranks of its own, or under a launcher.

A track describes its stage as a `Stage`. Here it gets its ranks, the lock and the log of its run directory, and an end
in order when a signal comes or its time is up. Source: design sections 4 to 6.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from transformers.utils.logging import disable_progress_bar

from trackyard.durable import sweep
from trackyard.launch.launched import Launched, adopt, launched, require_world
from trackyard.launch.lock import run_lock
from trackyard.launch.orders import Orders, Training, leading, meet
from trackyard.launch.processes import run_processes
from trackyard.launch.signals import cause, deadline, stop_error, stop_flag, stopping_at
from trackyard.recipes.running.ends import end_told, nothing_done, stopped, without_final
from trackyard.recipes.running.job import Job
from trackyard.recipes.running.made import record_beginning, record_made
from trackyard.recipes.running.one_rank import Say, follow, logging_to, train_share
from trackyard.recipes.running.training import FINAL
from trackyard.record.rundir import Attempt, RunDirectory, open_or_create
from trackyard.train.parameters import EngineParameters

J = TypeVar("J", bound=Job)

Train = Callable[[Job, RunDirectory, Attempt], None]
"""Trains a run to its final weights, on all its ranks."""


@dataclass(frozen=True, kw_only=True)
class Stage(Generic[J]):
    """A training stage as its track describes it.

    A run directory holds what is not made twice: `work` leaves a file of each of its parts, `result.json` last.
    """

    again: str
    """The command that runs it."""
    engine: EngineParameters
    processes: int
    """Ranks to start on this machine, where no launcher starts them."""
    check_world: Callable[[int], None]
    """Before anything is read: ConfigError where the steps cannot be divided among so many ranks."""
    prove: Callable[[], J]
    """Rank 0, once: the job, from inputs whose every byte is proved."""
    prepare: Callable[[], J]
    """The other ranks: the same job, from inputs that are trusted."""
    worker: tuple[str, list[str]]
    """The module that one of several ranks runs (see `one_rank.run_rank`) and its arguments; attempt number and run id
    follow them."""
    work: Callable[[J, RunDirectory, Callable[[], None]], None]
    """Rank 0: everything up to result.json. Calls its last argument for the training, after which FINAL is there."""
    put_out: Callable[[J, RunDirectory], None]
    """Rank 0, each time: what DVC expects, from a run directory with result.json."""


def run_training(stage: Stage[J], *, say: Say) -> bool:
    """Run a stage to its end, continuing wherever an earlier attempt was cut off.

    Raises StoppedEarly after a signal and at the end of its time. Under a launcher rank 0 does all of it and the others
    help it to train: False in a process that only helped, where nothing is left to be done.
    """
    disable_progress_bar()
    torch.set_num_threads(stage.engine.threads)
    found = launched(os.environ)
    if found is not None:
        require_world(found, stage.processes)
    stage.check_world(stage.processes if found is None else found.world)
    until = deadline(stage.engine.max_hours, os.environ, wall=time.time(), monotonic=time.monotonic())
    if found is None:
        with stop_error(lambda reason: nothing_done(stage.again, reason)), stopping_at(until):
            _run(stage, _own_ranks(stage, say), say)
        return True
    return _run_launched(found, stage, until, say)


def _run_launched(found: Launched, stage: Stage[J], until: float | None, say: Say) -> bool:
    """Rank 0 runs the stage and gives orders; the others follow them. True on rank 0."""
    adopt(found)
    orders = meet(found)
    if found.rank > 0:
        follow(orders, stage.prepare)
        return False
    say(f"ranks     {found.world} started by {found.by}, {found.local_world} of them on this machine")
    with leading(orders), stop_error(lambda reason: nothing_done(stage.again, reason)), stopping_at(until):
        _run(stage, _launched_ranks(orders, say), say)
    return True


def _run(stage: Stage[J], train: Train, say: Say) -> None:
    """The stage as one process sees it; `train` brings in the other ranks."""
    job = stage.prove()
    directory = open_or_create(job.root / "runs", job.spec)

    def train_once() -> None:
        attempt = directory.new_attempt()
        if not (directory.path / FINAL).exists():
            train(job, directory, attempt)

    with (
        run_lock(directory.path),
        logging_to(directory.log),
        end_told(directory),
        stop_error(lambda reason: stopped(directory, job.again, reason)),
    ):
        sweep(directory.path)
        say(f"run       {job.spec.run_id} in {directory.path.relative_to(job.root)}")
        if not directory.result.exists():
            directory.link_plan(job.plan_path, job.plan_fingerprint)
            record_beginning(job, directory)
            stage.work(job, directory, train_once)
        record_made(job, directory)
        stage.put_out(job, directory)


def _own_ranks(stage: Stage[J], say: Say) -> Train:
    """Training in this process, or where `processes` is more than 1 in as many that it starts."""

    def train(job: Job, directory: RunDirectory, attempt: Attempt) -> None:
        module, arguments = stage.worker
        ended = run_processes(module, [*arguments, str(attempt.number), job.spec.run_id], processes=stage.processes)
        if ended.stopped_by is not None:
            raise stopped(directory, job.again, cause(ended.stopped_by))
        if not (directory.path / FINAL).exists():
            raise without_final(directory, job.again, attempt, ended)

    def train_here(job: Job, directory: RunDirectory, attempt: Attempt) -> None:
        _train_here(job, directory, attempt, say)

    return train if stage.processes > 1 else train_here


def _launched_ranks(orders: Orders, say: Say) -> Train:
    """Training in this process, which is rank 0, and in the others of its launcher."""

    def train(job: Job, directory: RunDirectory, attempt: Attempt) -> None:
        orders.give(Training(attempt=attempt.number, run_id=job.spec.run_id))
        _train_here(job, directory, attempt, say)

    return train


def _train_here(job: Job, directory: RunDirectory, attempt: Attempt, say: Say) -> None:
    with stop_flag() as flag:
        train_share(job, directory, attempt, should_stop=flag, say=say)
    if flag.name is not None:
        raise stopped(directory, job.again, flag.name)
