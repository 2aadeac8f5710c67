"""What a study came to: the lines that a person sees, and report.md. Source: pile-ffn spec sections 1 and 10."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trackyard.evaluate.comparison import Comparison
from trackyard.recipes.pile_ffn.report.claims import PRIMARY, SEEDS_NEEDED, TAU, Claim, Flag, together
from trackyard.recipes.pile_ffn.report.gathering import Examined
from trackyard.recipes.pile_ffn.report.grids import (
    SHORT,
    Transfers,
    by_component,
    by_seed,
    comparisons,
    made,
    quality,
    robustness,
    transferred,
)
from trackyard.recipes.pile_ffn.report.rows import ArmRow


def spoken(rows: Sequence[ArmRow], warnings: Sequence[Flag], found: Sequence[Claim], examined: Examined) -> list[str]:
    """What a person sees when the study is done."""
    return [
        *quality(rows).plain(),
        f"by chance: {_chances(rows)}",
        "",
        *robustness(rows, warnings).plain(),
        "",
        *_flags(warnings),
        *(f"{claim.arm}: {claim.words}" for claim in found),
        f"examined: {_examined(examined)}",
    ]


def report(
    rows: Sequence[ArmRow],
    paired: Sequence[Comparison],
    squares: Mapping[str, Transfers],
    warnings: Sequence[Flag],
    found: Sequence[Claim],
    examined: Examined,
    figures: Sequence[tuple[str, str]],
    *,
    model: str,
) -> str:
    """report.md. figures: file name and caption of each."""
    lines = [
        f"# Non-negative feed-forward weights: {model}",
        "",
        "Does forcing feed-forward matrices to be non-negative make the model harder to attack, and what does it cost?",
        "No arm keeps order by theorem (`globally_monotonic` is false in every file): attention, norms, residual paths"
        " and biases are free, and the activation falls in places.",
        "",
        "## What may be said",
        "",
        *(f"- `{claim.arm}`: {claim.words}." for claim in found),
        "",
        f"To be called robuster, an arm must lose fewer nats than the baseline and than the degraded control of its"
        f" perplexity, beyond the interval, under {' and '.join(SHORT[name] for name in PRIMARY)}, at every seed of at"
        f" least {SEEDS_NEEDED}. A smaller rise relative to a worse loss is no claim.",
        "",
        "## Arms",
        "",
        "Trained arms of a seed saw the same tokens in the same order. A degraded control is the baseline with noise,"
        " matched on the validation loss of the non-negative arm of its variant.",
        "",
        *made(rows).markdown(),
        "",
        "## Perplexity and benchmarks",
        "",
        *quality(rows).markdown(),
        "",
        f"By chance: {_chances(rows)}.",
        "",
        *by_component(rows).markdown(),
        "",
        "## Attacks",
        "",
        "Mean rise of the loss in nats per token on tokens that the attack left alone, with its 95 % interval over"
        " documents, each averaged over seeds. Lower is robuster. Random triggers, random flips and the query attack"
        " use no gradients; their intervals are in summary.json.",
        "",
        *robustness(rows, warnings).markdown(),
        "",
        f"Seed by seed, with the share of documents that lose {TAU} nats per token or more, and the rise relative to"
        " the clean loss, which is smaller in a worse model and therefore not primary:",
        "",
        *by_seed(rows).markdown(),
        "",
        "### In pairs",
        "",
        "Arm minus reference on the same documents; below 0 the arm was hurt less. Detectable: the true difference"
        f" that this many documents show four times in five. McNemar: of success from {TAU} nats on; Holm: corrected"
        " over the arms and attacks of one seed and reference. The other attacks are in summary.json.",
        "",
        *comparisons([pair for pair in paired if pair.attack in PRIMARY]).markdown(),
        "",
        "### Transfer",
        "",
        *(
            line
            for attack in PRIMARY
            for grid in [transferred(attack, squares[attack], [row.arm for row in rows])]
            for line in (f"{grid.title}; means over seeds.", "", *grid.markdown(), "")
        ),
        "### Flags",
        "",
        *([f"- {line}." for line in _flags(warnings)] or ["None."]),
        "",
        "## Figures",
        "",
        *(line for name, caption in figures for line in (f"![{caption}]({name})", "", f"{caption}.", "")),
        "## What was examined",
        "",
        f"{_examined(examined)}.",
    ]
    return "\n".join(lines) + "\n"


def _flags(warnings: Sequence[Flag]) -> list[str]:
    return [f"{subject}: {flag}{_under(attacks)}: {meaning}" for flag, subject, attacks, meaning in together(warnings)]


def _under(attacks: Sequence[str]) -> str:
    return f" ({', '.join(SHORT[attack] for attack in attacks)})" if attacks else ""


def _examined(examined: Examined) -> str:
    searched = ", ".join(f"{pairs:,} of {stage}" for stage, pairs in examined.pairs.items())
    return (
        f"{examined.results:,} result files and {examined.inputs:,} files they were made from; "
        f"{examined.documents:,} test documents; pairs of cells searched for copies: {searched}; "
        f"code {', '.join(commit[:12] for commit in examined.commits)}"
    )


def _chances(rows: Sequence[ArmRow]) -> str:
    return ", ".join(
        f"{name} {'not known' if task.chance is None else f'{task.chance:.3f}'} ({task.items:,} items)"
        for name, task in rows[0].benchmarks.items()
    )
