"""What one rank of a stage does that runs as several processes.

The parent process holds the run lock and has prepared everything; a rank that comes to another run id stops.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

from transformers.utils.logging import disable_progress_bar

from trackyard.catalog.entries import load_catalogue
from trackyard.errors import EXIT_DONE, IdentityError, StoppedEarly, TrackyardError
from trackyard.launch.signals import stop_flag
from trackyard.recipes.molmo2.parameters import StageName, load_molmo2
from trackyard.recipes.molmo2.prepare import prepare
from trackyard.recipes.molmo2.stage import Progress, logging_to
from trackyard.recipes.molmo2.training import train
from trackyard.record.rundir import open_or_create
from trackyard.train.engine import rank


def run_rank(arguments: list[str]) -> int:
    """Train this rank's share; the exit code is that of the project.

    arguments: parameter file, stage, attempt number, run id.
    """
    disable_progress_bar()
    try:
        with stop_flag() as stopped:
            _train(arguments, stopped)
    except StoppedEarly:
        # No failure: the parent finds the complete checkpoint, and says so once for all ranks.
        return EXIT_DONE
    except TrackyardError as error:
        sys.stderr.write(f"rank {rank()}: {type(error).__name__}\n{error}\n")
        return error.exit_code
    return EXIT_DONE


def _train(arguments: list[str], stopped: Callable[[], bool]) -> None:
    parameter_file, stage, attempt_number, run_id = arguments
    root = Path.cwd()
    prepared = prepare(load_molmo2(Path(parameter_file)), cast(StageName, stage), root)
    if prepared.spec.run_id != run_id:
        raise IdentityError(
            what=f"rank {rank()} prepared run {prepared.spec.run_id}, the run is {run_id}",
            why="parameters, data or code changed while the run was starting",
            fix="run the same command again",
        )
    directory = open_or_create(root / "runs", prepared.spec)
    attempt = next(item for item in directory.attempts() if item.number == int(attempt_number))
    progress = Progress(prepared.plan.steps, lambda line: print(line, flush=True))  # noqa: T201 - the parent's terminal
    with logging_to(directory.log):
        train(
            prepared,
            directory,
            attempt,
            load_catalogue(root / "catalog"),
            should_stop=stopped,
            progress=progress if rank() == 0 else lambda done, result: None,
        )
