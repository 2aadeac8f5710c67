"""What a comparison came to: the lines that a person sees, and report.md. Source: theworld spec sections 1 and 12."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trackyard.evaluate.statistics import Interval
from trackyard.recipes.datacomp.cells import CONTROLS
from trackyard.recipes.datacomp.report.claims import CLAIM, MARGIN_SET, Claim, Margin
from trackyard.recipes.datacomp.report.collisions import LEAST_ITEMS
from trackyard.recipes.datacomp.report.gathering import AUDIT, Gathered
from trackyard.recipes.datacomp.report.pairs import Pair
from trackyard.recipes.datacomp.report.table import TITLES, Row
from trackyard.recipes.reporting.grid import Grid

MEANT = {
    "base_gemma": "the language model alone",
    "world": "the trained run",
    "random_projection": "the projector as it is drawn, untrained",
    "zero_latents": "the trained projector, all latents zero",
    "shuffled_latents": "the trained projector, each picture with the latent of another",
    "no_world_tokens": "the trained checkpoint with its branch off",
    "soft_prompt": "as many trained vectors instead of projected latents, the same for every picture",
}


def spoken(
    rows: Sequence[Row], paired: Sequence[Pair], found: Sequence[Claim], reached: Sequence[Margin], gathered: Gathered
) -> list[str]:
    """What a person sees when the comparison is done."""
    return [
        *scores(rows).plain(),
        "",
        *(f"{TITLES[claim.benchmark]}: {claim.words}" for claim in found),
        *(_told(margin) for margin in reached),
        *(f"resolvable: {line}" for line in [_resolvable(paired)] if line),
        f"examined: {_examined(gathered)}",
    ]


def scores(rows: Sequence[Row]) -> Grid:
    """Arms by sets."""
    sets = list(dict.fromkeys(row.set for row in rows))
    by_place = {(row.arm, row.set): row for row in rows}
    arms = list(dict.fromkeys(row.arm for row in rows))
    return Grid(
        title="score, mean over seeds [95 % over items, mean over seeds]",
        header=("arm", "seeds", *(TITLES[name] for name in sets)),
        rows=tuple(
            (
                arm,
                str(len(by_place[arm, sets[0]].scores)),
                *(f"{row.score:.3f} {_interval(row.ci95)}" for row in (by_place[arm, name] for name in sets)),
            )
            for arm in arms
        ),
    )


def compared(paired: Sequence[Pair]) -> Grid:
    """All pairs, with intervals and tests."""
    return Grid(
        title="difference, the first minus the second, on the same items",
        header=("pair", "set", "difference", "detectable", "only first : only second", "McNemar p", "Holm p"),
        rows=tuple(
            (
                f"{pair.a} - {pair.b}",
                TITLES[pair.benchmark],
                f"{pair.diff:+.3f} {_interval(pair.ci95, '+.3f')}",
                f"{pair.detectable:.3f}",
                f"{pair.better} : {pair.worse}",
                f"{pair.mcnemar_p:.2g}",
                f"{pair.holm_p:.2g}",
            )
            for pair in paired
        ),
    )


def report(
    rows: Sequence[Row],
    paired: Sequence[Pair],
    found: Sequence[Claim],
    reached: Sequence[Margin],
    gathered: Gathered,
    figures: Sequence[tuple[str, str]],
    *,
    gemma: str,
    vae: str,
) -> str:
    """report.md. figures: file name and caption of each. gemma, vae: names with revisions."""
    lines = [
        f"# TheWorld: {vae} into {gemma}",
        "",
        "Does a second visual input, latents of the image VAE of a video world model, improve answers to spatial"
        " questions beyond what the same tokens carry without image content? One frame is seen: nothing is about time.",
        "",
        "## What may be said",
        "",
        *(f"- {TITLES[claim.benchmark]}: {claim.words}." for claim in found),
        *(f"- {_told(margin)}." for margin in reached),
        "",
        f"To be called {CLAIM}, the trained run must beat the base model and each of {', '.join(CONTROLS)} on the same"
        " items, with an interval above 0 and a corrected McNemar test below 5 %, at every seed, its branch audited.",
        "",
        "## Scores",
        "",
        *scores(rows).markdown(),
        "",
        *_scored(rows),
        "",
        *(f"- `{arm}`: {MEANT[arm]}." for arm in dict.fromkeys(row.arm for row in rows)),
        "",
        "Seed by seed:",
        "",
        *_by_seed(rows).markdown(),
        "",
        "## In pairs",
        "",
        "Detectable: the true difference that so many items show four times in five; one that was not found may be as"
        " large. McNemar: exact, of items that only one answers rightly. Holm: corrected over all pairs of a seed:"
        " arms by benchmarks.",
        "",
        *compared(paired).markdown(),
        "",
        *([f"{_resolvable(paired)}.", ""] if paired else []),
        "## The branch",
        "",
        *_branches(gathered).markdown(),
        "",
        "Moves: the least change of the logits of the first generated token when the latent is that of another picture,"
        " zeros, or noise.",
        "",
        "## Figures",
        "",
        *(line for name, caption in figures for line in (f"![{caption}]({name})", "", f"{caption}.", "")),
        "## What was examined",
        "",
        f"{_examined(gathered)}.",
    ]
    return "\n".join(lines) + "\n"


def _by_seed(rows: Sequence[Row]) -> Grid:
    return Grid(
        title="seed by seed",
        header=("arm", "set", "cells", "empty", "unparsed"),
        rows=tuple(
            (
                row.arm,
                TITLES[row.set],
                ", ".join(
                    f"{label} {score:.3f} {_interval(row.ci95_of[label])}" for label, score in row.scores.items()
                ),
                "-" if row.empty is None else f"{row.empty:.1%}",
                f"{row.unparsed:.1%}",
            )
            for row in rows
        ),
    )


def _branches(gathered: Gathered) -> Grid:
    return Grid(
        title="the branch on the way of generation, before every evaluation",
        header=("cell", "branch", "pictures", "latents read", "moves"),
        rows=tuple(
            (
                label,
                result.body["branch"],
                str(result.body["images"]),
                str(result.body["latent_reads"]),
                ", ".join(f"{name} {value:.2g}" for name, value in result.body["moves"].items()) or "-",
            )
            for label, result in gathered.cells[AUDIT].items()
        ),
    )


def _scored(rows: Sequence[Row]) -> Iterator[str]:
    for row in {row.set: row for row in rows}.values():
        metric = "unweighted mean over tasks" if row.metric == "macro" else "share of items"
        chance = "" if row.chance is None else f"; guessing or one constant answer scores {row.chance:.3f}"
        yield f"- {TITLES[row.set]}: {metric}, {row.items:,} items{chance}."


def _told(margin: Margin) -> str:
    how = "beats" if margin.reached else "does not beat"
    return (
        f"world {how} {margin.control} by {margin.least:g} on {MARGIN_SET} at seed {margin.seed}: {margin.found:+.3f}"
    )


def _resolvable(paired: Sequence[Pair]) -> str:
    """The largest of what each set can show, since a claim needs all of its pairs."""
    by_set: dict[str, float] = {}
    for pair in paired:
        by_set[pair.benchmark] = max(by_set.get(pair.benchmark, 0.0), pair.detectable)
    told = ", ".join(f"{TITLES[name]} {100 * value:.1f}" for name, value in by_set.items() if value)
    alike = ", ".join(TITLES[name] for name, value in by_set.items() if not value)
    parts = [f"differences below these points are not resolvable on one run: {told}"] if told else []
    return "; ".join([*parts, *([f"no two arms differ in any item of {alike}"] if alike else [])])


def _examined(gathered: Gathered) -> str:
    examined, collisions = gathered.examined, gathered.collisions
    items = ", ".join(f"{number:,} of {TITLES[name]}" for name, number in examined.items.items())
    small = f"; too few items to compare (under {LEAST_ITEMS}): {', '.join(collisions.too_small)}"
    return (
        f"{examined.results:,} results and {examined.inputs:,} files they were made from; items: {items}; "
        f"{collisions.compared:,} pairs searched for equal predictions, {len(collisions.equal):,} equal as they must be"
        f"{small if collisions.too_small else ''}; code {', '.join(commit[:12] for commit in examined.commits)}"
    )


def _interval(of: Interval, form: str = ".3f") -> str:
    return f"[{of.low:{form}}, {of.high:{form}}]"
