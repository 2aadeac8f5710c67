"""The tables of a study as texts: for a terminal, and as Markdown. Source: pile-ffn spec sections 8.4 and 10."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trackyard.evaluate.comparison import Comparison
from trackyard.recipes.pile_ffn.report.claims import PRIMARY, TAU, Flag
from trackyard.recipes.pile_ffn.report.rows import ArmRow, AttackRow, OverSeeds
from trackyard.recipes.reporting.grid import Grid

SHORT = {
    "uat": "UAT",
    "random_trigger": "random trigger",
    "hotflip_one_shot": "HotFlip one-shot",
    "hotflip_greedy": "HotFlip greedy",
    "random_flips": "random flips",
    "query": "query",
}
"""Attacks in the order of the table, and their headings."""
GRADIENT = ("uat", "hotflip_one_shot", "hotflip_greedy")
"""Attacks whose interval the table shows; that of controls is in summary.json."""


Transfers = Mapping[str, Mapping[str, OverSeeds]]
"""Of one attack: source arm -> target arm -> mean rise."""


def quality(rows: Sequence[ArmRow]) -> Grid:
    """Perplexity and benchmarks of every arm."""
    tasks = list(rows[0].benchmarks)
    return Grid(
        title="perplexity on held-out documents, bits per byte, and benchmarks (accuracy; means over seeds)",
        header=("arm", "cells", "ppl", "ppl per seed", "bpb", *tasks),
        rows=tuple(
            (
                row.arm,
                str(len(row.cells)),
                f"{row.ppl.mean:.2f}",
                _seeds(row.ppl, ".2f"),
                f"{row.bpb.mean:.3f}",
                *(f"{row.benchmarks[task].score.mean:.3f}" for task in tasks),
            )
            for row in rows
        ),
    )


def robustness(rows: Sequence[ArmRow], warnings: Sequence[Flag]) -> Grid:
    """What attacks and their controls did to every arm."""
    return Grid(
        title="mean rise of the loss on tokens left alone, nats per token [95 % over documents]; lower is robuster",
        header=("arm", *SHORT.values(), "flags"),
        rows=tuple(
            (
                row.arm,
                *(_rise(row.attacks[attack], interval=attack in GRADIENT) for attack in SHORT),
                str(len(_of(row, warnings)) or "-"),
            )
            for row in rows
        ),
    )


def made(rows: Sequence[ArmRow]) -> Grid:
    """How every arm was made: what it constrains, and the loss that decides and that controls are matched to."""
    return Grid(
        title="matrices constrained, validation loss (nats per token), noise of degraded controls (in rms, by seed)",
        header=("arm", "matrices", "validation loss", "per seed", "noise"),
        rows=tuple(
            (
                row.arm,
                "-" if row.matched is None else str(row.matched),
                "-" if row.val_nll is None else f"{row.val_nll.mean:.4f}",
                "-" if row.val_nll is None else _seeds(row.val_nll, ".4f"),
                "-" if row.noise is None else " ".join(f"{sigma:.3g}" for sigma in row.noise.values()),
            )
            for row in rows
        ),
    )


def by_seed(rows: Sequence[ArmRow]) -> Grid:
    """The attacks that a claim is about, seed by seed, and the measures that are secondary."""
    headings = [SHORT[attack] for attack in PRIMARY]
    return Grid(
        title=f"rise per seed; share of documents that lose {TAU} nats or more; rise over clean loss (not primary)",
        header=("arm", *(f"{name} {what}" for name in headings for what in ("per seed", f">= {TAU}", "relative"))),
        rows=tuple(
            (
                row.arm,
                *(
                    text
                    for found in (row.attacks[attack] for attack in PRIMARY)
                    for text in (
                        _seeds(found.delta_nats, ".3f"),
                        f"{found.success[str(TAU)].mean:.2f}",
                        f"{found.relative_not_primary.mean:.1%}",
                    )
                ),
            )
            for row in rows
        ),
    )


def by_component(rows: Sequence[ArmRow]) -> Grid:
    """Perplexity by kind of text."""
    components = list(rows[0].by_component)
    return Grid(
        title="perplexity by component",
        header=("arm", *components),
        rows=tuple((row.arm, *(f"{row.by_component[name].mean:.2f}" for name in components)) for row in rows),
    )


def transferred(attack: str, square: Transfers, arms: Sequence[str]) -> Grid:
    """An attack crafted on one arm, replayed on another."""
    return Grid(
        title=f"{SHORT[attack]} crafted on the arm of the row, replayed on that of the column, nats per token",
        header=("crafted on", *arms),
        rows=tuple((source, *(f"{square[source][target].mean:.3f}" for target in arms)) for source in arms),
    )


def comparisons(paired: Sequence[Comparison]) -> Grid:
    """Pairs of arms on the same documents."""
    return Grid(
        title=f"difference of the rise in pairs of documents, arm - reference, nats per token; success from {TAU} nats",
        header=("arm", "reference", "attack", "documents", "difference", "95 %", "detectable", "McNemar p", "Holm p"),
        rows=tuple(
            (
                pair.a,
                pair.b,
                SHORT[pair.attack],
                str(pair.documents),
                f"{pair.diff:+.3f}",
                f"[{pair.ci95.low:+.3f}, {pair.ci95.high:+.3f}]",
                f"{pair.detectable:.3f}",
                f"{pair.mcnemar_p:.3g}",
                f"{pair.holm_p:.3g}",
            )
            for pair in paired
        ),
    )


def _seeds(numbers: OverSeeds, form: str) -> str:
    return " ".join(f"{value:{form}}" for value in numbers.cells.values())


def _rise(attack: AttackRow, *, interval: bool) -> str:
    low_high = f" [{attack.ci95.low:.3f}, {attack.ci95.high:.3f}]" if interval and attack.ci95 else ""
    return f"{attack.delta_nats.mean:.3f}{low_high}"


def _of(row: ArmRow, warnings: Sequence[Flag]) -> list[Flag]:
    return [flag for flag in warnings if flag.subject in (row.arm, *row.cells)]
