"""Child of test_fifty_kills.py: trains a small model in forked processes and kills them with SIGKILL at random moments.

Usage: killed_training DIRECTORY KILLS SEED. Prints one line of JSON. torch and DeepSpeed are imported once, before the
first fork.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from tests.train import test_loop as small
from trackyard.errors import CheckpointError, DataError
from trackyard.train.checkpoint import complete_checkpoints, step_of, verify_checkpoint
from trackyard.train.engine import _deepspeed
from trackyard.train.loop import CHECKPOINTS
from trackyard.train.ranks import join_ranks

STEPS, STEP_S = 900, 0.002
EARLY = 0.2
"""Share of kills that come at any moment from the first; the others once some steps are begun."""
MOST, BEYOND = 24, 3
"""Steps that an attempt is given before a kill, and what it may take beyond them until the kill comes: however slow or
quick a machine is, no attempt gets to the end, and every one gets somewhere."""
IDENTITY = {"run_id": "r"}


class Slow(small.Track):
    """Steps that last a while, so that kills meet all parts of the loop. Each is announced; after `most` it waits."""

    def __init__(self, begun: Connection, most: int) -> None:
        super().__init__()
        self._begun, self._left = begun, most

    def data(self, step: int) -> small.Data:
        if self._left == 0:
            signal.pause()
        self._left -= 1
        self._begun.send_bytes(b".")
        time.sleep(STEP_S)
        return super().data(step)


def train(directory: Path, losses: Path | None, begun: Connection, most: int) -> None:
    """To the end, or to the kill."""
    torch.set_num_threads(1)
    join_ranks(1)
    small.STEPS, small.SAVE_EVERY = STEPS, 5
    track = Slow(begun, most)
    weights = small.run(directory, track).weights()
    if losses is not None:
        torch.save(weights, losses)
    os._exit(0)


def run(directory: Path, losses: Path | None = None, chance: random.Random | None = None) -> int:
    """Exit code of one attempt, killed at a moment of chance."""
    steps = STEPS if chance is None else chance.randint(1, MOST)
    context = multiprocessing.get_context("fork")
    listen, begun = context.Pipe(duplex=False)
    process = context.Process(target=train, args=(directory, losses, begun, steps + BEYOND))
    process.start()
    begun.close()
    if chance is not None:
        assert process.pid is not None
        if chance.random() < EARLY:
            time.sleep(chance.uniform(0.0, 1.0))
        else:
            for _ in range(steps):
                listen.recv_bytes()
            time.sleep(chance.uniform(0.0, 3 * STEP_S))
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    listen.close()
    assert process.exitcode is not None
    return process.exitcode


def states(directory: Path) -> tuple[int, int]:
    """Complete checkpoints, and those of them that are not what they say."""
    found = complete_checkpoints(directory / CHECKPOINTS)
    bad = 0
    for path in found:
        try:
            verify_checkpoint(path, IDENTITY)
        except (CheckpointError, DataError):
            bad += 1
    return len(found), bad


def main(directory: Path, kills: int, seed: int) -> None:
    _deepspeed()
    chance = random.Random(seed)
    assert run(directory / "whole", directory / "whole.pt") == 0
    result: dict[str, Any] = {"killed": 0, "unloadable": 0, "examined": 0, "without": 0, "reached": []}
    while result["killed"] < kills:
        code = run(directory / "killed", chance=chance)
        if code == 0:
            break
        result["killed"] += code == -signal.SIGKILL
        complete, bad = states(directory / "killed")
        result["examined"] += complete
        result["unloadable"] += bad
        newest = [step_of(path) for path in complete_checkpoints(directory / "killed" / CHECKPOINTS)][-1:]
        result["without"] += bool(result["reached"]) and complete == bad
        result["reached"] += newest
    assert run(directory / "killed", directory / "killed.pt") == 0
    one, other = (torch.load(directory / f"{name}.pt", weights_only=True) for name in ("whole", "killed"))
    result["equal"] = len(one) > 0 and all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
