"""The inspection as one HTML page that needs no network: tables of facts, then the samples with their pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path

from trackyard.durable import write_atomic
from trackyard.snapshot.contact_sheet import marked
from trackyard.snapshot.inspect import Facts, Inspection, Picture, Sample, Spread

_STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent); }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 72rem; padding: 1.5rem; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
.faint { opacity: .65; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .8rem .3rem 0; text-align: left; vertical-align: top; }
td, th { white-space: nowrap; }
td.number, th.number { text-align: right; }
article { border: 1px solid var(--line); border-radius: 8px; margin: 1rem 0; padding: 1rem; break-inside: avoid; }
article h3 { font-size: 1rem; margin: 0 0 .5rem; overflow-wrap: anywhere; }
.pictures { display: flex; flex-wrap: wrap; gap: .75rem; }
figure { margin: 0; }
figure img { display: block; max-width: 100%; border-radius: 4px; }
figcaption { font-size: .8rem; opacity: .65; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem .8rem; margin: .75rem 0 0; }
dt { opacity: .65; }
dd { margin: 0; overflow-wrap: anywhere; white-space: pre-wrap; }
.bad { border-left: 4px solid #d1242f; padding-left: .6rem; }
@media (max-width: 40rem) { body { padding: 1rem; } dl { grid-template-columns: 1fr; } dd { margin-bottom: .4rem; } }
@media print { body { max-width: none; } article { border-color: #999; } }
"""
LONGEST = 2000
"""Characters of a text that are shown."""


def write_page(inspection: Inspection, path: Path) -> None:
    """Write the page; every text of the data is escaped."""
    write_atomic(path, "\n".join(_page(inspection)) + "\n")


def _page(inspection: Inspection) -> Iterator[str]:
    rows = sum(facts.rows for facts in inspection.facts)
    size = sum(facts.bytes for facts in inspection.facts)
    yield "<!doctype html>"
    yield '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    yield f"<title>{escape(Path(inspection.path).name)}</title><style>{_STYLE}</style></head><body>"
    yield f"<h1>{escape(inspection.path)}</h1>"
    yield (
        f'<p class="faint">{rows:,} rows, {size / 1e6:,.1f} MB. {len(inspection.samples)} rows sampled, '
        f"{inspection.decoded} pictures decoded, {inspection.undecodable} undecodable.</p>"
    )
    yield "<h2>What it holds</h2>"
    yield from _facts_table(inspection.facts)
    yield "<h2>Columns</h2>"
    yield from _columns_table(inspection.facts)
    yield "<h2>Samples</h2>"
    for sample in inspection.samples:
        yield from _article(sample)
    yield "</body></html>"


def _facts_table(all_facts: tuple[Facts, ...]) -> Iterator[str]:
    names = (
        "rows",
        "files",
        "MB",
        "media",
        "without media",
        "tasks",
        "width",
        "height",
        "frames",
        "seconds",
        "characters",
    )
    yield '<div class="scroll"><table><thead><tr><th>dataset</th>'
    yield "".join(f'<th class="{"" if name in ("media", "tasks") else "number"}">{name}</th>' for name in names)
    yield "</tr></thead><tbody>"
    for facts in all_facts:
        place = f"{facts.name}/{facts.split}" if facts.split else facts.name
        cells = (
            f"{facts.rows:,}", f"{facts.files:,}", f"{facts.bytes / 1e6:,.1f}", _counts(facts.media),
            f"{facts.without_media:,}", _counts(facts.tasks), _spread(facts.width), _spread(facts.height),
            _spread(facts.frames), _spread(facts.seconds), _spread(facts.characters),
        )  # fmt: skip
        yield f"<tr><td>{escape(place)}</td>"
        for name, cell in zip(names, cells, strict=True):
            yield f'<td class="{"" if name in ("media", "tasks") else "number"}">{escape(cell)}</td>'
        yield "</tr>"
    yield "</tbody></table></div>"
    yield '<p class="faint">Spreads: least · median · greatest, each value once.</p>'


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items(), key=lambda item: -item[1]))


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return ""
    values = dict.fromkeys((spread.least, spread.median, spread.greatest))
    return " · ".join(f"{value:,.0f}" if value == int(value) else f"{value:,.1f}" for value in values)


def _columns_table(all_facts: tuple[Facts, ...]) -> Iterator[str]:
    """Datasets with the same columns share a table."""
    shared: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for facts in all_facts:
        names = shared.setdefault(tuple(facts.columns.items()), [])
        if facts.name not in names:
            names.append(facts.name)
    for columns, names in shared.items():
        yield f'<p class="faint">{escape(", ".join(names))}</p><div class="scroll"><table><tbody>'
        yield "".join(f"<tr><td>{escape(name)}</td><td><code>{escape(kind)}</code></td></tr>" for name, kind in columns)
        yield "</tbody></table></div>"


def _article(sample: Sample) -> Iterator[str]:
    place = f"{sample.name}/{sample.split}" if sample.split else sample.name
    yield f"<article><h3>{escape(place)} · row {sample.number} <span class=faint>{escape(sample.id)}"
    yield f"{' · ' + escape(sample.task) if sample.task else ''}</span></h3>"
    if sample.pictures:
        yield '<div class="pictures">' + "".join(_figure(picture) for picture in sample.pictures) + "</div>"
    for problem in sample.undecodable:
        yield f'<p class="bad">{escape(problem)}</p>'
    yield "<dl>"
    for speaker, text in sample.texts:
        shown = text if len(text) <= LONGEST else text[:LONGEST] + "…"
        yield f"<dt>{escape(speaker)}</dt><dd>{escape(shown) or '<span class=faint>(written by the feed)</span>'}</dd>"
    yield "</dl></article>"


def _figure(picture: Picture) -> str:
    buffer = io.BytesIO()
    marked(picture, picture.image).save(buffer, format="JPEG", quality=85)
    data = base64.b64encode(buffer.getvalue()).decode()
    return (
        f'<figure><img alt="{escape(picture.caption)}" width="{picture.image.width}" '
        f'src="data:image/jpeg;base64,{data}"><figcaption>{escape(picture.caption)}</figcaption></figure>'
    )
