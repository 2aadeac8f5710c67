"""`trackyard`, started so that the process notes when it takes a step, and whatever it asks a network for.

Usage: noted_steps NOTES STOCK ARGUMENT…   with the arguments of trackyard.
NOTES: file of JSON lines, {"event", "at" (seconds since 1970), …}: "began", "step", "ended", with the CPU seconds of
the whole process and the seconds that its main thread has waited so far, a step also with the CPU seconds that the
model took of it; "connect" with the address.
While there is a file NOTES.hold, no step follows HELD_STEP: what is to happen in mid-run happens then, however quick or
slow the machine is.
STOCK: "" or an address: the negative control. Then MLflow's own client tells the loss of a step to that server inside
the loop, as many trainers do.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

HELD_STEP = 6
"""From 1, as the next: behind the first checkpoint, before which the points so far are written to disk."""
STOCK_STEP = 8
"""The step whose loss the negative control logs: late enough for the server to be good when it starts."""


def note(file: int, event: str, **facts: Any) -> None:
    os.write(file, json.dumps({"event": event, "at": time.time(), **facts}).encode() + b"\n")


def spent() -> dict[str, float]:
    """CPU seconds of this process, and seconds that its main thread waited: neither ran nor stood in line for a core.

    That others keep the cores busy makes a start longer, and is no wait. Source: proc(5), schedstat (ns).
    """
    with open("/proc/self/schedstat") as file:
        running, in_line, _ = map(int, file.read().split())
    lived = time.clock_gettime(time.CLOCK_BOOTTIME) - BEGAN
    return {"cpu_s": time.process_time(), "waited_s": lived - (running + in_line) / 1e9}


BEGAN = time.clock_gettime(time.CLOCK_BOOTTIME)


def noting_network(file: int) -> None:
    """Note connections, whatever library makes them: no code of a process escapes its auditing."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect":
            note(file, "connect", address=str(arguments[1]))

    sys.addaudithook(hook)


def noting_steps(file: int, hold: Path, stock: str) -> None:
    from trackyard.train.engine import Engine

    taken = Engine.step
    client: Any = None
    if stock:
        from mlflow import MlflowClient

        client = MlflowClient(stock)
        run = client.create_run("0").info.run_id

    def step(self: Engine, number: int, micro_batches: Any, weight: float) -> Any:
        began = time.thread_time()
        result = taken(self, number, micro_batches, weight)
        model_s = time.thread_time() - began
        if client is not None and number + 1 == STOCK_STEP:
            client.log_metric(run, "loss", 0.0, step=number + 1)
        note(file, "step", step=number + 1, model_s=model_s, **spent())
        while number + 1 >= HELD_STEP and hold.exists():
            time.sleep(0.01)
        return result

    Engine.step = step  # type: ignore[method-assign]


def main(notes: str, stock: str, *arguments: str) -> None:
    file = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    note(file, "began", **spent())
    atexit.register(lambda: note(file, "ended", **spent()))
    noting_network(file)
    noting_steps(file, Path(f"{notes}.hold"), stock)
    sys.argv = ["trackyard", *arguments]
    from trackyard.cli.main import main as trackyard

    trackyard()


if __name__ == "__main__":
    main(*sys.argv[1:])
