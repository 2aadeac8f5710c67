"""What one rank of a stage does: train its share, watched, and say how far it is.

Three kinds of ranks come here: the only one; those that the parent process of a stage starts (`run_rank`); and those
that a launcher starts beside rank 0, which does the rest of the stage (`follow`).
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from transformers.utils.logging import disable_progress_bar

from trackyard.errors import EXIT_DONE, IdentityError, StoppedEarly, TrackyardError
from trackyard.launch.failures import named_failures
from trackyard.launch.orders import End, Orders, ended
from trackyard.launch.signals import deadline, stop_flag
from trackyard.launch.watchdog import Watchdog, stacks_file
from trackyard.recipes.running.job import Job
from trackyard.recipes.running.training import train
from trackyard.record.rundir import Attempt, RunDirectory, open_or_create
from trackyard.redact import RedactingFormatter, redact_terminal
from trackyard.train.ranks import rank

Say = Callable[[str], None]


def train_share(
    job: Job, directory: RunDirectory, attempt: Attempt, *, should_stop: Callable[[], bool], say: Say
) -> None:
    """Train this rank's part of every step. TrackyardError, from `train` or where memory or another rank is gone."""
    until = deadline(job.engine.max_hours, os.environ, wall=time.time(), monotonic=time.monotonic())
    stacks = stacks_file(directory.path, attempt.number, rank())
    watchdog = Watchdog(stacks, rank=rank(), limits=job.watchdog)
    line = say if rank() == 0 else _silent
    with watchdog, named_failures():
        train(
            job,
            directory,
            attempt,
            # A step that would end after the time is up is not begun: it may take longer than what is left for a save.
            should_stop=lambda: should_stop() or (until is not None and time.monotonic() + watchdog.pace_s() > until),
            progress=lambda done: watchdog.beat(last=done == job.steps),
            say=lambda text: line(f"train     {text}"),
        )


def run_rank(prepare: Callable[[], Job], attempt: int, run_id: str) -> int:
    """A rank that the parent process started, which holds the run lock and has prepared everything.

    prepare: comes to the same job as the parent. attempt: its number. Returns the exit code of the project.
    """
    disable_progress_bar()
    redact_terminal()
    try:
        with stop_flag() as stopped:
            _join(prepare, attempt, run_id, stopped, _print)
    except StoppedEarly:
        # No failure: the parent finds the complete checkpoint, and says so once for all ranks.
        return EXIT_DONE
    except TrackyardError as error:
        sys.stderr.write(f"rank {rank()}: {type(error).__name__}\n{error}\n")
        return error.exit_code
    return EXIT_DONE


def follow(orders: Orders, prepare: Callable[[], Job]) -> None:
    """A rank beside rank 0 of a launcher: train whenever rank 0 says so, end as rank 0 ends.

    A stop signal is noted and taken to the next step; outside of training rank 0 ends this rank, in time or by its
    own end.
    """
    try:
        with stop_flag() as stopped:
            while not isinstance(order := orders.read(), End):
                try:
                    _join(prepare, order.attempt, order.run_id, stopped, _silent)
                except StoppedEarly as early:
                    # All ranks agreed to stop; what rank 0 makes of it is the next order.
                    logging.getLogger(__name__).info("rank %d: %s", rank(), early.what)
            ended(order)
    finally:
        orders.leave()


def _join(prepare: Callable[[], Job], number: int, run_id: str, should_stop: Callable[[], bool], say: Say) -> None:
    """Come to the same run as rank 0, and train; IdentityError where it is another one."""
    job = prepare()
    if job.spec.run_id != run_id:
        raise IdentityError(
            what=f"rank {rank()} prepared run {job.spec.run_id}, the run is {run_id}",
            why="parameters, data or code changed while the run was starting",
            fix="run the same command again",
        )
    directory = open_or_create(job.root / "runs", job.spec)
    attempt = next(item for item in directory.attempts() if item.number == number)
    with logging_to(directory.log):
        train_share(job, directory, attempt, should_stop=should_stop, say=say)


def _silent(_line: str) -> None:
    """Only rank 0 speaks."""


def _print(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - the parent's terminal


class logging_to:
    """What is logged inside the block goes to the run's log.txt, and warnings (a damaged checkpoint) to stderr too."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        logging.getLogger("trackyard").setLevel(logging.INFO)
        file, terminal = logging.FileHandler(self._path), logging.StreamHandler()
        file.setFormatter(RedactingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        terminal.setFormatter(RedactingFormatter("warning: %(message)s"))
        terminal.setLevel(logging.WARNING)
        self._handlers = (file, terminal)
        for handler in self._handlers:
            logging.getLogger("trackyard").addHandler(handler)

    def __exit__(self, *_: object) -> None:
        for handler in self._handlers:
            logging.getLogger("trackyard").removeHandler(handler)
            handler.close()
