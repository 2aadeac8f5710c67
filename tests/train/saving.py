"""Child of test_saver.py: saves in a loop, in processes that are killed; each line of input is one of them.

A line is JSON: root, seed, kill (seconds after the first new file, or null to wait for its own end), crash (name of an
armed crash point or null), naive (torch.save over one file). The answer is a line of JSON: what was found afterwards.
Torch is imported once. Nothing is hashed in this process itself: threads of the hash do not survive a fork.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch

from tests.tiny_state import KINDS, LONE, state_of
from tests.train.newest import newest_valid
from trackyard.crash import ARMED
from trackyard.errors import TrackyardError
from trackyard.train.checkpoint import complete_checkpoints
from trackyard.train.resume import resume
from trackyard.train.saver import Saver

IDENTITY = {"run_id": "kills"}
ELEMENTS = 200_000
ENDLESS = 10**6


def filled(step: int) -> Any:
    """A state whose every element is the number of the step."""
    return state_of({kind: {"w": torch.full((ELEMENTS,), float(step))} for kind in KINDS}, step=step)


def save_in_a_loop(root: Path, saves: int) -> None:
    state = filled(0)
    path, host, _ = resume(root, state, IDENTITY, ranks=LONE)
    first = int(host.get("step", 0))
    saver = Saver(root, ranks=LONE, state=state, identity=IDENTITY, keep=2, never=path)
    for step in range(first + 1, first + 1 + saves):
        for kind in KINDS:
            state.held[0].tensors[kind].fill_(step)
        saver.save(step, {}, score=float(step))
    saver.finish()


def save_naively(root: Path) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for step in range(ENDLESS):
        torch.save({"w": torch.full((3 * ELEMENTS,), float(step))}, root / "last.pt")


def look(root: Path) -> dict[str, Any]:
    """What the next start would find."""
    state = filled(0)
    complete = len(complete_checkpoints(root))
    _, bad = newest_valid(root, IDENTITY)
    path, host, rejected = resume(root, state, IDENTITY, ranks=LONE)
    step = int(host.get("step", 0))
    whole = all(bool((state.held[0].tensors[kind] == step).all()) for kind in KINDS)
    return {"complete": complete, "bad": len(bad) + len(rejected), "step": step, "whole": whole, "path": str(path)}


def look_naively(root: Path) -> dict[str, Any]:
    try:
        found = torch.load(root / "last.pt")["w"]
    except (RuntimeError, OSError, EOFError, KeyError):
        return {"loadable": False}
    return {"loadable": bool((found == found[0]).all())}


def fork(work: Any) -> int:
    """Run `work` in a child; its process id."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except TrackyardError as error:
            sys.stderr.write(f"{error}\n")
            os._exit(1)
        sys.stdout.flush()
        os._exit(0)
    return child


def one(order: dict[str, Any]) -> dict[str, Any]:
    root = Path(order["root"])
    before = {path.name for path in root.iterdir()} if root.is_dir() and not order["naive"] else set()
    if order["crash"]:
        os.environ[ARMED] = order["crash"]
    saves = ENDLESS if order["kill"] is not None else order["saves"]
    child = fork(lambda: save_naively(root) if order["naive"] else save_in_a_loop(root, saves))
    os.environ.pop(ARMED, None)
    if order["kill"] is not None:
        deadline = time.monotonic() + 120
        while not (root.is_dir() and {path.name for path in root.iterdir()} - before):
            assert time.monotonic() < deadline, "nothing new was written"
            time.sleep(0.0005)
        time.sleep(random.Random(order["seed"]).uniform(0, order["kill"]))
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    read, write = os.pipe()

    def answer() -> None:
        found = look_naively(root) if order["naive"] else look(root)
        os.write(write, json.dumps(found).encode())

    os.waitpid(fork(answer), 0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        found: dict[str, Any] = json.loads(pipe.read())
    return found | {"status": os.waitstatus_to_exitcode(status)}


def main() -> int:
    torch.set_num_threads(1)
    for line in sys.stdin:
        print(json.dumps(one(json.loads(line))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
