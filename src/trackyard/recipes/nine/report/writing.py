"""What a sweep came to: the lines that a person sees, and report.md, which is read in two minutes.

Source: nine-datasets spec section 9.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trackyard.recipes.nine.report.figures import conditions
from trackyard.recipes.nine.report.findings import Finding
from trackyard.recipes.nine.report.frontiers import AXES, Frontiers
from trackyard.recipes.nine.report.gathering import Gathered
from trackyard.recipes.nine.report.tables import frontier_keys, overlap_grid
from trackyard.recipes.reporting.grid import Grid

SPOKEN = 25
"""Lines at most that a person sees."""
ORIGIN = (
    "TextVQA .7680 at 371.5 ms to .3778 at 218.6",
    "VQA v2 .8255 at 294.7 ms to .6535 at 166.5, 15 of 27 configurations on its frontier",
    "OK-VQA .6443 at 289.2 ms to .3662 at 177.9",
    "prefill P50 135.0 ms, P95 175.3; 46 to 49 ms per decode step; overlap of frontiers .05 to .733",
)
"""Source: nine-datasets spec section 9, figures of the origin (H100, MolmoE-1B)."""


def spoken(gathered: Gathered, found: Sequence[Finding], warned: Sequence[str], where: str) -> list[str]:
    """What a person sees when the comparison is done, in at most `SPOKEN` lines. where: the folder of the results."""
    table = overview(found).plain()
    end = [f"{where}: report.md, figures/, pages/all.html, tables/, frontiers/"]
    room = SPOKEN - len(table) - len(end) - 1
    told = [f"note: {text}" for text in warned]
    if len(told) > room:
        left = len(told) - room + 1
        told = [*told[: room - 1], f"note: {left} more in report.md"]
    return [*table, "", *told, *end]


def overview(found: Sequence[Finding]) -> Grid:
    """Best and fastest of every data set."""
    return Grid(
        title="accuracy [95 %] at P50 of total latency; as good: no difference to the best is shown",
        header=("data set", "metric", "best", "ms", "as good", "fastest as good", "ms", "fastest", "ms", "frontier"),
        rows=tuple(
            (
                finding.task.heading,
                finding.task.metric,
                _value(finding, "best"),
                _ms(finding, "best"),
                str(len(finding.as_good)),
                f"{finding.fastest_as_good.metric[finding.task.metric].value:.3f}",
                _ms(finding, "fastest_as_good"),
                _value(finding, "fastest"),
                _ms(finding, "fastest"),
                f"{finding.on_frontier} of {finding.configurations}",
            )
            for finding in found
        ),
    )


def report(
    gathered: Gathered,
    frontiers: Frontiers,
    found: Sequence[Finding],
    warned: Sequence[str],
    figures: Mapping[str, str],
    pages: Mapping[str, str],
    tables: Mapping[str, str],
) -> str:
    """report.md. figures, pages, tables: what each file shows, by its path."""
    sweep = gathered.sweep
    every = [path for path in figures if path.startswith("figures/all-")]
    lines = [
        f"# {len(frontiers)} data sets: {sweep.model}",
        "",
        *([f"**{gathered.watermark}**", ""] if gathered.watermark else []),
        f"What do fewer visual tokens, experts and blocks cost in accuracy, and what do they save in time? "
        f"{len(sweep.keys)} configurations ({sweep.strategy}); {conditions(gathered)}.",
        "",
        "## What came out",
        "",
        *overview(found).markdown(),
        "",
        *(f"- {line}" for line in map(_told, found)),
        "",
        "## Be wary of",
        "",
        *([f"- {text}." for text in warned] or ["Nothing stood out."]),
        "",
        f"![{figures[every[0]]}]({every[0]})",
        "",
        "Every point is a configuration: colour, marker and size are its visual level, experts and blocks. The line is"
        " the frontier, dashed where the step from one configuration to the next is a tie on these questions; bars are"
        " 95 % intervals of configurations on the frontier. "
        + ", ".join(f"[{figures[path]}]({path})" for path in every[1:])
        + ". In a browser, with the whole configuration of every point: "
        + ", ".join(f"[{words}]({path})" for path, words in pages.items())
        + ".",
        "",
        "## Configurations on a frontier",
        "",
        *frontier_keys(gathered, frontiers).markdown(),
        "",
        f"{overlap_grid(gathered, frontiers, AXES[0]).title.capitalize()}:",
        "",
        *overlap_grid(gathered, frontiers, AXES[0]).markdown(),
        "",
        "## Tables",
        "",
        *(f"- {words}: [Markdown]({path.removesuffix('.csv')}.md), [CSV]({path})" for path, words in tables.items()),
        "",
        "## For plausibility only",
        "",
        "Figures of the origin on an H100 with MolmoE-1B, not verified, and not comparable with anything above:",
        "",
        *(f"- {line}" for line in ORIGIN),
    ]
    return "\n".join(lines) + "\n"


def _told(finding: Finding) -> str:
    """A data set in a sentence or two."""
    best, quick, task = finding.best, finding.fastest_as_good, finding.task
    text = f"**{task.heading}**: best is {best.words} (`{best.name}`)"
    if not finding.as_good:
        text += "; every other configuration is measurably worse"
    elif quick.key == best.key:
        text += f"; {_others(finding)} with it, and it is the fastest of them"
    else:
        saved = 1 - quick.times.parts["total"].p50 / best.times.parts["total"].p50
        text += f"; {_others(finding)} with it, of which {quick.words} (`{quick.name}`) takes {saved:.0%} less time"
    if finding.tied_steps:
        text += f"; {finding.tied_steps} of {finding.steps} steps of the frontier are ties"
    if task.chance is not None:
        text += f"; guessing scores {task.chance:.3f}"
    return text + "."


def _others(finding: Finding) -> str:
    return "one other ties" if len(finding.as_good) == 1 else f"{len(finding.as_good)} others tie"


def _value(finding: Finding, which: str) -> str:
    value = getattr(finding, which).metric[finding.task.metric]
    return f"{value.value:.3f} [{value.lo:.3f}, {value.hi:.3f}]"


def _ms(finding: Finding, which: str) -> str:
    return f"{getattr(finding, which).times.parts['total'].p50:.1f}"
