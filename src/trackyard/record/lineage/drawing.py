"""The drawing of a chain: boxes in layers, what was made above what it was made from. SVG, no script, no request."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from trackyard.record.lineage.groups import KIND_WORDS, Group, groups
from trackyard.record.lineage.licences import UNKNOWN, licence_rows
from trackyard.record.lineage.links import Kind, Link
from trackyard.record.lineage.words import problems, shown

_BOX, _GAP, _MARGIN, _ACROSS = 246, 18, 10, 3
"""Width of a box, space between two, edge of the drawing, in pixels; boxes beside each other."""
_LINE, _PAD, _BETWEEN = 16, 10, 34
"""Height of a line of text, space in a box above and below it, space between two rows of boxes."""
_CHARACTERS, _BOLD = 31, 28
"""As many as fit into a box at 13 pixels, also in a wide font."""
_DETAILS = 2
"""Lines of facts in a box; the page below the drawing has all of them."""
_TOLD: Mapping[Kind, tuple[str, ...]] = {
    "made": ("path",),
    "checkpoint": ("path",),
    "run": ("stage", "run"),
    "plan": ("fingerprint",),
    "model": ("id", "licence"),
    "code": ("commit", "path", "uncommitted"),
}
"""The facts in the box of a single link, by kind."""

COLOURS: dict[Kind, tuple[str, str]] = {
    "made": ("#ffe2c2", "#6b3d0a"),
    "checkpoint": ("#ffeaa6", "#5c4a00"),
    "run": ("#d9e8ff", "#123f7d"),
    "plan": ("#e6dcff", "#452a86"),
    "snapshot": ("#d5f2d8", "#145a24"),
    "model": ("#ffd9e4", "#7d1740"),
    "code": ("#e4e7eb", "#363d47"),
    "image": ("#cfeff2", "#0b545c"),
    "stage": ("#f2f0e6", "#4d4728"),
}
"""Per kind a light and a dark colour: by day dark on light, by night the other way round."""


def style() -> str:
    """The CSS of a drawing and of its legend."""
    rules = [
        ".chain text{font:13px system-ui,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}",
        ".chain .kind{font-size:11px;letter-spacing:.04em}.chain .name{font-weight:600}",
        ".chain .wrong{stroke-width:3;stroke-dasharray:6 3}",
        ".chain .edge{fill:none;stroke:#8a919c;stroke-width:1.5}.chain .head{fill:#8a919c}",
    ]
    for kind, (light, dark) in COLOURS.items():
        rules.append(f".chain .{kind} rect{{fill:{light};stroke:{dark}}}.chain .{kind} text{{fill:{dark}}}")
        rules.append(f".key.{kind}{{background:{light};color:{dark};border-color:{dark}}}")
    night = "".join(
        f".chain .{kind} rect{{fill:{dark};stroke:{light}}}.chain .{kind} text{{fill:{light}}}"
        f".key.{kind}{{background:{dark};color:{light};border-color:{light}}}"
        for kind, (light, dark) in COLOURS.items()
    )
    return "".join(rules) + f"@media screen and (prefers-color-scheme:dark){{{night}}}"


class _Wrapped(textwrap.TextWrapper):
    """Lines that break at spaces, and in paths and addresses."""

    wordsep_simple_re = re.compile(r"(\s+|(?<=[/:@]))")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Box:
    """A group at its place. x, y: of the upper left corner, in pixels."""

    group: Group
    lines: tuple[str, ...]
    named: int
    x: float
    y: float

    @property
    def height(self) -> int:
        return _LINE * (1 + len(self.lines)) + 2 * _PAD


def chain_svg(chain: Link, *, anchors: bool = False) -> str:
    """The drawing of a chain, complete in itself.

    anchors: boxes lead to the elements `link-0`, `link-1` … of the page around it, in the order of `groups`.
    """
    found = groups(chain)
    boxes, height = _placed(found)
    width = max(box.x for box in boxes) + _BOX + _MARGIN
    edges = "".join(_edge(box, boxes[at]) for box in boxes for at in box.group.inputs)
    drawn = "".join(_drawn(box, at if anchors else None) for at, box in enumerate(boxes))
    label = escape(f"What {chain.name} was made from: {len(found)} boxes, the result at the top")
    return (
        f'<svg class="chain" xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{label}" '
        f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"><style>{style()}</style>'
        '<defs><marker id="chain-head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        f'orient="auto"><path class="head" d="M0 0 8 4 0 8Z"/></marker></defs>{edges}{drawn}</svg>'
    )


def _placed(found: list[Group]) -> tuple[list[_Box], float]:
    """Every group with its place, and the height of the drawing."""
    boxes: dict[int, _Box] = {}
    top = float(_MARGIN)
    for layer in sorted({group.layer for group in found}):
        waiting = [at for at, group in enumerate(found) if group.layer == layer]
        # What goes on downwards stands on the left, where a phone shows it.
        waiting.sort(key=lambda at: (not found[at].inputs, _pull(at, found, boxes)))
        for start in range(0, len(waiting), _ACROSS):
            row = waiting[start : start + _ACROSS]
            # Of a second row nothing goes on downwards: it leaves the left to the lines from below.
            for place, at in enumerate(row, start=_ACROSS - len(row) if start else 0):
                lines, named = _lines(found[at])
                boxes[at] = _Box(group=found[at], lines=lines, named=named, x=_MARGIN + place * (_BOX + _GAP), y=top)
            top += max(boxes[at].height for at in row) + _BETWEEN
    return [boxes[at] for at in range(len(found))], top - _BETWEEN + _MARGIN


def _pull(at: int, found: list[Group], boxes: dict[int, _Box]) -> float:
    """Where the boxes that were made from this one stand, on average."""
    above = [box.x for box in boxes.values() if at in box.group.inputs]
    return sum(above) / len(above) if above else 0.0


def _lines(group: Group) -> tuple[tuple[str, ...], int]:
    """The text of a box: its name, which may take two lines, and some facts. The number is of the name's lines."""
    name = _Wrapped(_BOLD, max_lines=2, placeholder="…", break_on_hyphens=False).wrap(group.title)
    return (*name, *_details(group)[:_DETAILS]), len(name)


def _details(group: Group) -> list[str]:
    link = group.links[0]
    if any(next(problems(one), None) for one in group.links):
        return ["not proved: see below"]
    if group.kind == "snapshot":
        licences = Counter(row.licence for one in group.links for row in licence_rows(one))
        told = {name: f"licence {name}" if name == UNKNOWN else name for name in licences}
        counted = [told[name] if len(licences) == 1 else f"{licences[name]} {told[name]}" for name in licences]
        return [textwrap.shorten(words, _CHARACTERS, placeholder=" …") for words in counted]
    if len(group.links) > 1:
        items = ", ".join(_item(one) for one in group.links)
        return textwrap.wrap(items, _CHARACTERS, max_lines=_DETAILS, placeholder=" …")
    if group.kind == "stage":
        return textwrap.wrap(link.facts.get("does", ""), _CHARACTERS, max_lines=_DETAILS, placeholder=" …")
    return [_cut(f"{key} {shown(link.facts[key])}") for key in _TOLD.get(group.kind, ()) if key in link.facts]


def _item(link: Link) -> str:
    """What tells a link from the others of its box: the end of its place, its item of a matrix, or its last word."""
    place, _, what = link.name.partition(": ")
    if what and "/" in place:
        return "/".join(place.split("/")[-2:])
    return link.name.rpartition("@")[2].rpartition(" ")[2]


def _cut(text: str) -> str:
    """As much as fits into a line; of what is too long the end says most, it is a path or an id."""
    return text if len(text) <= _CHARACTERS else f"…{text[1 - _CHARACTERS :]}"


def _edge(upper: _Box, lower: _Box) -> str:
    x1, y1 = upper.x + _BOX / 2, upper.y + upper.height
    x2, y2 = lower.x + _BOX / 2, lower.y
    middle = (y1 + y2) / 2
    return (
        f'<path class="edge" marker-end="url(#chain-head)" '
        f'd="M{x2:g} {y2:g}C{x2:g} {middle:g} {x1:g} {middle:g} {x1:g} {y1 + 1:g}"/>'
    )


def _drawn(box: _Box, anchor: int | None) -> str:
    x, y = box.x + _PAD, box.y + _PAD + _LINE * 0.8
    wrong = any(list(problems(link)) for link in box.group.links)
    texts = [f'<text class="kind" x="{x:g}" y="{y:g}">{escape(KIND_WORDS[box.group.kind][0])}</text>']
    for number, line in enumerate(box.lines):
        kept = ' class="name"' if number < box.named else ""
        texts.append(f'<text{kept} x="{x:g}" y="{y + _LINE * (number + 1):g}">{escape(line)}</text>')
    names = escape("\n".join(link.name for link in box.group.links))
    rect = (
        f'<rect x="{box.x:g}" y="{box.y:g}" width="{_BOX}" height="{box.height}" rx="6"'
        + (' class="wrong"' if wrong else "")
        + "/>"
    )
    body = f'<g class="{box.group.kind}"><title>{names}</title>{rect}{"".join(texts)}</g>'
    return body if anchor is None else f'<a href="#link-{anchor}">{body}</a>'
