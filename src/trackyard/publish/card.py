"""The model card: what the record says of a run, and nothing else. A track gives the facts, this page their form.

Every number is one of the record, rounded to be read; `model-index` has the values with all their digits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from trackyard.publish.measured import Measured

CARD, LICENCES = "README.md", "LICENSES.md"
NOT_STATED = "not stated"
ROUNDED = "Measured numbers are rounded to four digits; `model-index`, above, has every value in full."


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedOn:
    """A data set. share: of the trained rows, in [0, 1], None where no plan mixes data sets. hub: its repository."""

    name: str
    licence: str | None
    source: str
    fingerprint: str
    share: float | None = None
    hub: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseModel:
    """Weights that were there before. role: in the model. revision: None of one that is made."""

    role: str
    id: str
    revision: str | None
    licence: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CardFacts:
    """Everything the card states.

    what: in a sentence. use: Markdown of how it is run. data_words, limits: sentences that follow from the record.
    training, cost, lineage: names and values. verify: the command that proves the lineage.
    """

    title: str
    what: str
    task: str
    library: str
    tags: Sequence[str]
    use: str
    metrics: Sequence[Measured]
    data: Sequence[TrainedOn]
    bases: Sequence[BaseModel]
    training: Sequence[tuple[str, str]]
    limits: Sequence[str]
    cost: Sequence[tuple[str, str]]
    lineage: Sequence[tuple[str, str]]
    verify: str
    data_words: Sequence[str] = ()
    further: Sequence[tuple[str, str]] = ()
    """Sections of the track's own: heading and Markdown."""


def model_card(facts: CardFacts) -> str:
    """Markdown with the front matter of the hub."""
    front = yaml.safe_dump(_front(facts), sort_keys=True, allow_unicode=True)
    sections = [f"---\n{front}---", f"# {facts.title}", facts.what, "## Use", facts.use, "## Results", *_results(facts)]
    sections += ["## Data", *facts.data_words, *_data(facts.data)]
    if facts.bases:
        rows = (
            (base.role, f"`{base.id}`", base.revision or "none", base.licence or NOT_STATED) for base in facts.bases
        )
        sections += ["## Base models", _table(("", "model", "revision", "licence"), rows)]
    sections.append(
        f"All licences, with the data and models of earlier stages, are in `{LICENCES}`. The weights inherit whatever "
        "terms these impose."
    )
    if facts.training:
        sections += ["## Training", _table(("", ""), facts.training)]
    for heading, text in facts.further:
        sections += [f"## {heading}", text]
    sections += ["## Limits", "\n".join(f"- {line}" for line in facts.limits)]
    if facts.cost:
        sections += ["## Cost", _table(("", ""), facts.cost)]
    sections += ["## Lineage", _table(("", ""), facts.lineage)]
    sections.append(
        "`lineage.json` beside this file holds every fingerprint, `checksums.json` every digest. In the repository "
        f"that it was made in, this re-hashes the whole chain:\n\n    {facts.verify}"
    )
    return "\n\n".join(section for section in sections if section) + "\n"


def cost_rows(
    device: str | None, world: int | None, device_hours: float | None, energy_kwh: float | None, attempts: int
) -> list[tuple[str, str]]:
    """The cost of a run as its record has it; what was not measured is called so."""
    return [
        ("devices", NOT_STATED if device is None or world is None else f"{world} x {device}"),
        ("device hours", NOT_STATED if device_hours is None else number(device_hours)),
        ("energy of the GPUs", "not measured" if energy_kwh is None else f"{number(energy_kwh)} kWh"),
        ("attempts", str(attempts)),
    ]


def number(value: float) -> str:
    """Four digits, as all measured numbers of a card; counts as they are."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _front(facts: CardFacts) -> dict[str, Any]:
    front: dict[str, Any] = {
        "library_name": facts.library,
        "pipeline_tag": facts.task,
        "tags": list(dict.fromkeys([*facts.tags, "trackyard"])),
        # No licence of its own: what the data and the base models ask for is listed, and nothing is concluded.
        "license": "other",
        "license_name": "see-licences",
        "license_link": LICENCES,
        "model-index": [{"name": facts.title, "results": [_indexed(facts, metric) for metric in facts.metrics]}],
    }
    published = [base.id for base in facts.bases if base.revision is not None and "/" in base.id]
    hubs = sorted({data.hub for data in facts.data if data.hub is not None})
    return front | ({"base_model": published} if published else {}) | ({"datasets": hubs} if hubs else {})


def _indexed(facts: CardFacts, metric: Measured) -> dict[str, Any]:
    name, _, kind = metric.name.rpartition(" ")
    return {
        "task": {"type": facts.task},
        "dataset": {"name": name or metric.name, "type": (name or metric.name).replace(" ", "-")},
        "metrics": [{"type": kind, "value": metric.value, "name": metric.name}],
    }


def _results(facts: CardFacts) -> Iterator[str]:
    started = any(metric.start is not None for metric in facts.metrics)
    guessed = any(metric.chance is not None for metric in facts.metrics)
    further = (*(("at the start",) if started else ()), *(("by guessing",) if guessed else ()))
    rows = []
    for metric in facts.metrics:
        ends = "none" if metric.low is None or metric.high is None else f"{number(metric.low)} to {number(metric.high)}"
        more = ((metric.start,) if started else ()) + ((metric.chance,) if guessed else ())
        others = ("none" if value is None else number(value) for value in more)
        rows.append((metric.name, number(metric.value), ends, f"{metric.n:,} {metric.over}", *others))
    yield _table(("metric", "value", "95 % interval", "over", *further), rows)
    hows = dict.fromkeys(metric.how for metric in facts.metrics if metric.low is not None)
    if hows:
        yield f"Intervals: {'; '.join(hows)}."
    if facts.metrics:
        yield ROUNDED


def _data(data: Sequence[TrainedOn]) -> Iterator[str]:
    shares = any(one.share is not None for one in data)
    header = ("data set", *(("share of trained rows",) if shares else ()), "licence", "source", "fingerprint")
    rows = (
        (
            one.name,
            *(("" if one.share is None else f"{one.share:.2%}",) if shares else ()),
            one.licence or NOT_STATED,
            one.source,
            f"`{one.fingerprint[:12]}`",
        )
        for one in sorted(data, key=lambda one: one.name)
    )
    yield _table(header, rows)


def _table(header: Sequence[str], rows: Iterator[Sequence[str]] | Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(_cell(text) for text in line)} |" for line in lines)


def _cell(text: object) -> str:
    """Text that cannot end its cell of a table."""
    return " ".join(str(text).replace("|", "\\|").split())
