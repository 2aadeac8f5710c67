"""Sections of the report as one HTML page that asks for nothing: figures are inside, and there is no script."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape

from trackyard.recipes.overview.blocks import Block, Bullets, Caveat, Command, Folded, Picture, Section, Table, Text
from trackyard.recipes.overview.style import STYLE
from trackyard.recipes.overview.svg import inline

GENERATOR = "trackyard report"
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_CODE = re.compile(r"`([^`]+)`")


def page(title: str, sections: Sequence[Section]) -> str:
    """The whole file."""
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f'<meta name="generator" content="{GENERATOR}">',
            # Whatever a text may hold, a browser neither fetches nor runs anything for it.
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            # No icon is asked for either.
            '<link rel="icon" href="data:,">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style></head>",
            '<body><a class="skip" href="#top">To the report</a>',
            *_contents(sections),
            f'<main id="top"><h1>{escape(title)}</h1>',
            *(line for section in sections for line in _section(section, level=2)),
            "</main></body></html>\n",
        ]
    )


def _contents(sections: Sequence[Section]) -> Iterator[str]:
    yield '<nav aria-label="Contents"><p>Contents</p><ul>'
    for section in sections:
        inner = "".join(f'<li><a href="#{part.anchor}">{escape(part.title)}</a></li>' for part in section.parts)
        below = f"<ul>{inner}</ul>" if inner else ""
        yield f'<li><a href="#{section.anchor}">{escape(section.title)}</a>{below}</li>'
    yield "</ul></nav>"


def _section(section: Section, level: int) -> Iterator[str]:
    yield f'<section id="{section.anchor}" aria-labelledby="{section.anchor}-title">'
    yield f'<h{level} id="{section.anchor}-title">{escape(section.title)}</h{level}>'
    yield from map(_block, section.blocks)
    for part in section.parts:
        yield from _section(part, level + 1)
    yield "</section>"


def _block(block: Block) -> str:
    match block:
        case Text(words):
            return f"<p>{_words(words)}</p>"
        case Caveat(words):
            return f'<p class="caveat" role="note">{_words(words)}</p>'
        case Bullets(items):
            return f"<ul>{''.join(f'<li>{_words(item)}</li>' for item in items)}</ul>"
        case Command(lines):
            return f'<pre tabindex="0"><code>{escape(chr(10).join(lines))}</code></pre>'
        case Table():
            return _table(block)
        case Picture():
            return _picture(block)
        case Folded(title, blocks):
            inner = "\n".join(map(_block, blocks))
            return f"<details><summary>{_words(title)}</summary>{inner}</details>"


def _table(table: Table) -> str:
    grid = table.grid

    def kind(place: int) -> str:
        names = [name for name, of in (("words", table.wordy | {0}), ("wide", table.wide)) if place in of]
        return f' class="{" ".join(names)}"' if names else ""

    head = "".join(f'<th scope="col"{kind(place)}>{_words(text)}</th>' for place, text in enumerate(grid.header))
    rows = [
        # Names of arms are long; a phone breaks them where a person would.
        f'<tr><th scope="row">{_words(row[0]).replace("_", "_<wbr>")}</th>'
        + "".join(f"<td{kind(place)}>{_words(text)}</td>" for place, text in enumerate(row[1:], 1))
        + "</tr>"
        for row in grid.rows
    ]
    title = _words(grid.title)
    return (
        f'<div class="box" tabindex="0" role="region" aria-label="{escape(grid.title)}"><table>'
        f"<caption><span>{title}</span></caption><thead><tr>{head}</tr></thead>\n<tbody>{chr(10).join(rows)}</tbody></table></div>"
    )


def _picture(picture: Picture) -> str:
    drawing = inline(picture.svg, name=picture.name, alt=picture.alt)
    return (
        f'<figure id="figure-{picture.name}"><div class="box card" tabindex="0" role="region" '
        f'aria-label="Figure: {escape(picture.caption)}">{drawing}</div>'
        f"<figcaption>{_words(picture.caption)}</figcaption></figure>"
    )


def _words(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", escape(text))
