"""G1: Pythia-1.4B in bf16 at 2,048 tokens, our engine beside the Hugging Face Trainer on the same tokens.

    python -m benchmarks.gpu.gpu_lm [--tiny] [--steps N] [--out FILE]

Packages beside trackyard's own: a CUDA build of torch, accelerate (for the Trainer). No hub access: random weights,
random tokens. First both train four fp32 steps on the same two windows, and losses must agree; a run with another
learning rate must be noticed. Then they take turns, each a process of its own, ours, theirs, ours, theirs: 60 timed
steps of 65,536 tokens each, in six parts. The Trainer is as its documentation has it, without torch.compile; ours is
compiled by layers, and not with --eager. Targets: 58k tokens/s, 1.25 times the Trainer.
Source: performance spec sections 3 to 5, 10.1 and G1.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from benchmarks.gpu.device import device_of, name_of
from benchmarks.gpu.lm_contenders import CONTENDERS, Job, Outcome
from benchmarks.gpu.lm_sizes import size_of
from benchmarks.gpu.script import Given, Workload, run, summary
from benchmarks.harness import Contender, Target, Unequal, figures_of, judge
from benchmarks.limits import at_least
from benchmarks.staying import say
from trackyard.train.flops import Transformer, causal_pairs, gpt_neox_work, step_flops

OURS, PEER = CONTENDERS
WANTED = 58_000.0
"""Tokens per second: half of the peak of an H100 or H200."""
TOLERANCE = 1e-4
"""Relative difference of an fp32 loss."""
TURNS = 2
"""Processes of each contender."""


def do(name: str, *, tiny: bool, **settings: Any) -> Outcome:
    """One life of a contender: here for tiny sizes, else in a process of its own, which gives all memory back.

    settings: of the job.
    """
    if tiny:
        return _here(name, job_of(tiny=tiny, settings=settings))
    argv = ["-m", "benchmarks.gpu.gpu_lm", "--child", name, json.dumps(settings)]
    return Outcome(**Contender(name=name, argv=argv).run())


def job_of(*, tiny: bool, settings: Mapping[str, Any]) -> Job:
    return Job(size=size_of(tiny), device=device_of(tiny), **settings)


def _here(name: str, job: Job) -> Outcome:
    """Without the launcher's variables afterwards: the Trainer would take them for several processes."""
    before = dict(os.environ)
    try:
        return CONTENDERS[name](job)
    finally:
        os.environ.clear()
        os.environ.update(before)


def difference(one: Outcome, other: Outcome) -> str | None:
    """What is unequal in the losses of two comparisons."""
    pairs = list(zip(one.losses, other.losses, strict=True))
    far = max((abs(a - b) / abs(a) for a, b in pairs), default=float("inf"))
    return None if far <= TOLERANCE else f"losses differ by {far:.1e}: {pairs}"


def compare(*, tiny: bool) -> None:
    """Raises Unequal unless both train alike, and unless another learning rate is noticed."""
    mine = do(OURS, tiny=tiny, checked=True)
    problem = difference(mine, do(PEER, tiny=tiny, checked=True))
    if problem:
        raise Unequal(f"unequal training, so nothing is timed: {problem}")
    if difference(mine, do(OURS, tiny=tiny, checked=True, flaw=True)) is None:
        raise Unequal("another learning rate was not noticed: the comparison proves nothing")


def measure(given: Given) -> list[Workload]:
    compare(tiny=given.tiny)
    reports: dict[str, Any] = {name: [] for name in CONTENDERS}
    peaks = dict.fromkeys(CONTENDERS, 0.0)
    for _ in range(TURNS):
        for name in CONTENDERS:
            outcome = do(
                name, tiny=given.tiny, turns=given.rounds // TURNS, steps=given.per_round, compiled=given.compiled
            )
            reports[name] += outcome.reports
            peaks[name] = max(peaks[name], outcome.peak)
    size, device = size_of(given.tiny), name_of(device_of(given.tiny))
    shape = Transformer(
        layers=size.layers,
        hidden=size.hidden,
        heads=size.heads,
        kv_heads=size.heads,
        head_dim=size.hidden // size.heads,
        ffn=4 * size.hidden,
        gated=False,
        vocab=size.vocab,
    )
    per_window = step_flops(gpt_neox_work(shape, tokens=size.length, pairs=causal_pairs([size.length])))
    figures = figures_of(reports, metric="wall_s")
    for name, figure in figures.items():
        figure["extra"] = summary(
            figure["rate"],
            unit="tokens/s",
            flops_per_unit=per_window / size.length,
            device=device,
            peak_gb=peaks[name],
        )
    rate = figures[OURS]["rate"]
    return [
        {
            "name": f"GPT-NeoX {size.layers} x {size.hidden}, {size.length} tokens, bf16",
            "unit": "tokens/s",
            "figures": figures,
            "targets": [
                at_least(f"{WANTED:,.0f} tokens/s", WANTED, rate),
                *judge(figures, [Target(peer=PEER, ratio=1.25)]),
            ],
            "size": asdict(size),
        }
    ]


def child(name: str, settings: str) -> int:
    """One life of a contender in a process of its own; the last line says how it went."""
    say(asdict(CONTENDERS[name](job_of(tiny=False, settings=json.loads(settings)))))
    return 0


def main(argv: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    if arguments[:1] == ["--child"]:
        return child(*arguments[1:])
    return run("gpu_lm", __doc__, measure, arguments, steps=60, rounds=6)


if __name__ == "__main__":
    sys.exit(main())
