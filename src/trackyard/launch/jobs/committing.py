"""What a job has made goes to DVC: one commit at a time, proved, and only if nothing changed while the job ran.

A commit writes down the dependencies as they are at that moment, and not as they were when the stage began. A change
in between would make outputs of the old code pass for those of the new one.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from trackyard.errors import TrackyardError
from trackyard.launch.jobs.inputs import hash_ahead, inputs_now, recorded_inputs, require_same_inputs
from trackyard.launch.jobs.locked import locked_stage
from trackyard.launch.jobs.staleness import status_lines
from trackyard.launch.jobs.turn import WAIT_S, turn
from trackyard.runner import Finished, Runner, SystemRunner

DVC = (sys.executable, "-m", "dvc", "--wait-for-lock")
BUSY_S = 60.0
"""How long somebody else's `dvc` may hold files of the stage before its refusal is taken as final."""
_BUSY = "is busy"
_ASK_S = 2.0


def commit(root: Path, stage: str, made_from: Mapping[str, str], *, runner: Runner | None = None) -> None:
    """Record the outputs of `stage` in dvc.lock and in the cache, and prove that it is up to date then.

    made_from: what it was made from, when it began (`inputs_now`). TrackyardError where that is other now, where DVC
    refuses, or where the stage is not up to date afterwards; nothing is recorded in the first two cases.
    """
    runner = runner or SystemRunner()
    hash_ahead(root, stage, outputs=True)
    with turn(root):
        require_same_inputs(stage, made_from, inputs_now(root, stage), since="it began")
        done = _patient(runner, [*DVC, "commit", "--force", stage], root)
        if done.exit_code != 0:
            raise _refused(stage, done)
        with locked_stage(root, stage) as found:
            left, recorded = status_lines(found), recorded_inputs(found)
    if left:
        raise TrackyardError(
            what=f"{stage} is not up to date after its commit: {json.dumps(left)}",
            why="its outputs or its inputs changed at that very moment, so what was recorded is not what was made",
            fix=f"`trackyard submit {stage}`",
        )
    other = sorted(key for key, digest in recorded.items() if made_from.get(key) != digest)
    if other:
        raise TrackyardError(
            what=f"{stage} was recorded as made from what it was not: {', '.join(other)} changed at that very moment",
            why="DVC takes outputs that were made from the old for those of the new, and as up to date",
            fix=f"`trackyard submit --force {stage}`",
        )


def changes(root: Path, stage: str) -> list[object]:
    """Why `stage` is stale, in the words of `dvc status`; empty where it is up to date. TrackyardError if unknown."""
    with locked_stage(root, stage) as found:
        return status_lines(found)


def _patient(runner: Runner, argv: list[str], root: Path) -> Finished:
    """Run DVC, again while it says that others hold files of the stage (its lock itself it waits for)."""
    limit = time.monotonic() + BUSY_S
    while True:
        done = runner.run(argv, cwd=root, timeout_s=WAIT_S)
        if done.exit_code == 0 or _BUSY not in done.stderr or time.monotonic() > limit:
            return done
        time.sleep(_ASK_S)


def _refused(stage: str, done: Finished) -> TrackyardError:
    said = " ".join((done.stderr or done.stdout).split())[-600:]
    return TrackyardError(
        what=f"`{' '.join(done.argv)}` ended with {done.exit_code}: {said}",
        why=f"what {stage} put out is not recorded, so nothing may be made of it",
        fix="mend what it says, then `trackyard retry`",
    )
