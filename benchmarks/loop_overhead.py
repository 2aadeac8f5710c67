"""What a step costs beside its arithmetic: our engine, a bare PyTorch loop, the Hugging Face Trainer; tiny GPT-NeoX.

    python -m benchmarks.loop_overhead

About 5 ms per step on one core; the same weights, batches, loss, clipping and fused AdamW, in fp32. Ours does what a
stage's loop does: the step, the question whether a rank was asked to stop, and loss and norm read every ten steps, as
the peers read them. Before anything is timed, the losses of the first ten steps are compared; a run with another
learning rate must be noticed. Three per cent over the bare loop is a ratio of 0.971. The Trainer wants accelerate: it
runs where that is installed, here or in the environment of the peers. Source: performance spec 10.1 and B15.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.harness import Contender, Target, Unequal, judge, write_record
from benchmarks.loop_overhead_peer import (
    BATCHES,
    BETAS,
    CLIP,
    CONTENDERS,
    EPS,
    FIRST,
    LENGTH,
    LOG_EVERY,
    PACKS,
    RATE,
    STEPS,
    batches,
    summed_loss,
    tiny_model,
)
from benchmarks.staying import serve
from benchmarks.turns import Companion, alternate

OURS = "trackyard"
TOLERANCE = 1e-5
"""Relative difference of a loss."""


def ours(*, flaw: bool) -> None:
    """Child. flaw: another learning rate, for the negative control."""
    import torch

    from trackyard.train.engine import Engine
    from trackyard.train.loss import AnswerLoss
    from trackyard.train.parameters import ComponentRate, EngineParameters, OptimiserParameters
    from trackyard.train.ranks import join_ranks

    ranks = join_ranks(1)
    one = torch.ones(1)

    def forward(model: Any, tokens: Any) -> AnswerLoss:
        total = summed_loss(model, tokens)
        return AnswerLoss(total=total, cross_entropy=total.detach()[None], weight=one)

    rate = ComponentRate(learning_rate=RATE * (1.1 if flaw else 1.0), warmup_steps=0)
    engine = Engine(
        tiny_model(),
        component_of=lambda name: "llm",
        optimiser=OptimiserParameters(
            rates={"llm": rate}, beta1=BETAS[0], beta2=BETAS[1], eps=EPS, weight_decay=0.0, clip_norm=CLIP
        ),
        engine=EngineParameters(micro_batch=PACKS),
        packs_per_step=PACKS,
        # The rate falls with a cosine: over so many steps not at all.
        steps=10**12,
        forward=forward,
        ranks=ranks,
    )
    data, done = batches(), 0

    def steps(count: int, every: int) -> list[float]:
        nonlocal done
        read = []
        for _ in range(count):
            result = engine.step(done, [data[done % BATCHES]], float(PACKS * LENGTH))
            done += 1
            if engine.any_rank(False):
                break
            if done % every == 0:
                read.append(float(result.loss))
                float(result.gradient_norm)
        return read

    serve(lambda: float(steps(STEPS, LOG_EVERY) and STEPS), steps(FIRST, 1))


def agree(answers: Mapping[str, Any]) -> str | None:
    """Losses that differ from ours."""
    wanted, *others = answers.items()
    far = {name: max(abs(a - b) / abs(b) for a, b in zip(losses, wanted[1], strict=True)) for name, losses in others}
    wrong = [f"{name} by {distance:.1e}" for name, distance in far.items() if not distance <= TOLERANCE]
    if not all(math.isfinite(loss) for loss in wanted[1]):
        wrong.append("our losses are no numbers")
    return f"losses differ from ours: {', '.join(wrong)}" if wrong else None


def measure(rounds: int) -> dict[str, Any]:
    mine = Contender(name=OURS, argv=["benchmarks/loop_overhead.py", "--child"])
    peer = "benchmarks/loop_overhead_peer.py"
    lacks = importlib.util.find_spec("accelerate") is None
    peers = [Contender(name=name, argv=[peer, name], peer=lacks and name != "raw loop") for name in CONTENDERS]
    flawed = Contender(name="flawed", argv=[*mine.argv, "--flaw"])
    with Companion(flawed) as one, Companion(peers[0]) as other:
        if agree({"flawed": one.hear()["answer"], "raw loop": other.hear()["answer"]}) is None:
            raise Unequal("another learning rate was not noticed: the comparison proves nothing")
    figures = alternate([mine, *peers], metric="cpu_s", rounds=rounds, agree=agree)
    return {
        "name": "tiny GPT-NeoX, fp32, one core",
        "unit": "steps/cpu-s",
        "figures": figures,
        "targets": judge(figures, [Target(peer="raw loop", ratio=0.971), Target(peer="HF Trainer", ratio=1.0)]),
    }


def main() -> int:
    """0 if targets are reached and figures steady, 1 if not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--scratch", type=Path, help="not used: nothing is written")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--flaw", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        ours(flaw=given.flaw)
        return 0
    packages = ("torch", "transformers", "deepspeed")
    return 0 if write_record("loop_overhead", [measure(given.rounds)], packages=packages) else 1


if __name__ == "__main__":
    sys.exit(main())
