"""Train a trivial model for many steps as a stage does, and print by how many bytes a step memory grew.

`python steady_loop.py FOLDER STEPS LEAK`: LEAK bytes of every step are kept, to show that it would be seen.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from trackyard.launch.signals import stop_flag
from trackyard.launch.watchdog import Watchdog, WatchdogParameters, stacks_file
from trackyard.record.rundir import Attempt
from trackyard.record.spool import Spool
from trackyard.train.engine import Engine
from trackyard.train.guard import Guard
from trackyard.train.guard_parameters import GuardParameters
from trackyard.train.loss import AnswerLoss
from trackyard.train.parameters import ComponentRate, EngineParameters, OptimiserParameters
from trackyard.train.ranks import join_ranks

SAMPLES = 25
"""Looks at the resident memory, the first fifth of them before it is level."""


def forward(model: torch.nn.Module, inputs: torch.Tensor) -> AnswerLoss:
    """Squared outputs as a loss of four answers."""
    loss_A = model(inputs).square().sum(-1)
    return AnswerLoss(total=loss_A.sum(), cross_entropy=loss_A.detach(), weight=torch.ones(4))


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def main(folder: Path, steps: int, leak: int) -> None:
    torch.manual_seed(0)
    guard = Guard(GuardParameters(), device=torch.device("cpu"))
    engine = Engine(
        torch.nn.Linear(8, 8),
        component_of=lambda name: "llm",
        optimiser=OptimiserParameters(rates={"llm": ComponentRate(learning_rate=1e-3, warmup_steps=2)}),
        engine=EngineParameters(),
        packs_per_step=1,
        steps=steps,
        forward=forward,
        ranks=join_ranks(1),
        guard=guard,
    )
    kept, seen = [], []
    attempt = Attempt(number=1, host="here", pid=1, started="now")
    watchdog = Watchdog(stacks_file(folder, 1, 0), rank=0, limits=WatchdogParameters())
    with stop_flag() as stopped, watchdog, Spool(folder / "spool", attempt) as spool:
        for step in range(steps):
            result = engine.step(step, [torch.ones(4, 8)], 4.0)
            spool.metrics({"train/loss": float(result.loss), "train/gradient_norm": float(result.gradient_norm)}, step)
            watchdog.beat(last=step == steps - 1)
            if step % 10 == 0:
                guard.skipped()
            if engine.any_rank(stopped()):
                raise SystemExit("a signal")
            kept.append(b"\1" * leak)
            if step % (steps // SAMPLES) == 0:
                seen.append((step, resident()))
    assert guard.total < steps / 100, "most steps were not taken"
    level = seen[SAMPLES // 5 :]
    print(np.polyfit([step for step, _ in level], [held for _, held in level], 1)[0])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
