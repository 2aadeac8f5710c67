"""Packs as one HTML page that needs no network: pictures are data URIs, and its policy lets it load nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape

from trackyard.feed.tree import EXAMPLE_STRIDE
from trackyard.feed.view_drawing import PADDING_COLOUR, ROW_COLOURS
from trackyard.feed.view_parts import PackView, RowView
from trackyard.feed.view_pictures import count_of, legend_html, picture_html
from trackyard.feed.view_template import SCRIPT, STYLE
from trackyard.feed.view_text import Block, Piece

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
FEW = 4
"""Frames up to which they are shown larger."""


def page(title: str, facts: Mapping[str, str], packs: Sequence[PackView]) -> str:
    """The whole document. facts: what the header states, by name. Every text of the data is escaped."""
    return "\n".join(_page(title, facts, packs)) + "\n"


def _page(title: str, facts: Mapping[str, str], packs: Sequence[PackView]) -> Iterator[str]:
    heaviest = max(
        (piece.weight or 0.0 for pack in packs for row in pack.rows for block in row.blocks for piece in block.pieces),
        default=0.0,
    )
    yield "<!doctype html>"
    yield '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    yield f'<title>{escape(title)}</title><link rel="icon" href="data:,"><style>{STYLE}</style></head><body>'
    yield f'<header><div><h1>{escape(title)}</h1><dl class="facts">'
    for name, value in (dict(facts) | _totals(packs)).items():
        yield f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
    yield "</dl>"
    yield from _overview(packs)
    yield "</div></header>"
    yield '<nav aria-label="what is shown"><div>'
    for name, label, checked in (
        ("weights", "loss weights", True),
        ("ids", "ids of points", True),
        ("stored", "stored points (rings)", True),
        ("grid", "crops", False),
    ):
        yield f'<label><input type="checkbox" name="{name}"{" checked" if checked else ""}>{label}</label>'
    yield f'<span class="scale faint">loss weight 0 <i></i> {heaviest:.3g}</span></div></nav><main>'
    for number, pack in enumerate(packs):
        yield from _pack(number, pack, heaviest)
    yield f'</main><div id="tip" role="status"></div><script>{SCRIPT}</script></body></html>'


def _totals(packs: Sequence[PackView]) -> dict[str, str]:
    """What is on the page, in numbers."""
    rows = [row for pack in packs for row in pack.rows]
    used = sum(row.tokens for row in rows)
    length = sum(pack.length for pack in packs)
    marks = [mark for row in rows for mark in row.marks if not mark.stored]
    said = {
        "shown": f"{count_of(len(packs), 'sequence')}, {count_of(len(rows), 'row')}",
        "tokens": f"{used:,}: {sum(row.visual for row in rows):,} visual, {sum(row.targets for row in rows):,} learned",
    }
    if length > used:
        said["padding"] = f"{1 - used / length:.1%}"
    if marks:
        off = sum(mark.agrees is False for mark in marks)
        said["points"] = f"{len(marks):,} taught" + (f", {off:,} on no stored point" if off else "")
    broken = sum(row.reason is not None for row in rows)
    return said | ({"unusable": count_of(broken, "row")} if broken else {})


def _colour(index: int) -> str:
    return ROW_COLOURS[index % len(ROW_COLOURS)]


def _overview(packs: Sequence[PackView]) -> Iterator[str]:
    """One bar of tokens and one of visual inputs per sequence, against the budgets of a pack."""
    yield '<div class="overview">'
    for number, pack in enumerate(packs):
        share = pack.tokens / pack.max_tokens
        rest = f"{share:.1%} of a pack" if pack.alone else f"{1 - share:.1%} padding"
        yield f'<a href="#pack-{number}"><span>{escape(pack.title)}</span><span class="bars">'
        for name, total, kind in (("tokens", pack.max_tokens, "bar"), ("inputs", pack.max_inputs, "bar thin")):
            yield f'<span class="{kind}">'
            for index, row in enumerate(pack.rows):
                amount = row.tokens if name == "tokens" else row.inputs
                if amount:
                    say = escape(f"{row.dataset}: {amount:,} {name if name == 'tokens' else 'visual inputs'}")
                    width = f"{100 * amount / total:.3f}"
                    yield f'<i class="span" style="--row:{_colour(index)};width:{width}%" data-say="{say}"></i>'
            yield "</span>"
        yield f"</span><span>{rest}</span></a>"
    yield "</div>"


def _pack(number: int, pack: PackView, heaviest: float) -> Iterator[str]:
    yield f'<section class="pack" id="pack-{number}"><div class="head"><h2>{escape(pack.title)}</h2>'
    held = "" if pack.alone else f" · {count_of(len(pack.rows), 'row')}"
    yield (
        f'<span class="faint">{pack.tokens:,} of {pack.max_tokens:,} tokens · {pack.inputs:,} of {pack.max_inputs:,} '
        f"visual inputs{held}</span></div>"
    )
    yield '<div class="body"><div class="rows">'
    for index, row in enumerate(pack.rows):
        yield from _row(index, row, heaviest)
    yield "</div>"
    if pack.mask is not None:
        yield from _attention(pack)
    yield "</div></section>"


def _attention(pack: PackView) -> Iterator[str]:
    """The picture of the mask, and a square around each row."""
    yield '<figure class="attention"><div class="square">'
    yield f'<img alt="attention mask" src="{pack.mask}">'
    yield f'<svg viewBox="0 0 {pack.length} {pack.length}" preserveAspectRatio="none" aria-hidden="true">'
    for index, row in enumerate(pack.rows):
        say = escape(f"{row.dataset}\ntokens {row.start:,} to {row.start + row.tokens - 1:,} of the pack")
        place = f'x="{row.start}" y="{row.start}" width="{row.tokens}" height="{row.tokens}"'
        yield f'<rect class="span" {place} style="--row:{_colour(index)}" data-say="{say}"/>'
    rest = pack.length - pack.tokens
    if rest:
        place = f'x="{pack.tokens}" y="{pack.tokens}" width="{rest}" height="{rest}"'
        yield f'<rect class="span" {place} style="--row:{PADDING_COLOUR}" data-say="padding: {rest:,} tokens"/>'
    yield (
        "</svg></div><figcaption>attention: queries downwards, keys to the right. Faint: earlier tokens. "
        "Solid: visual tokens that also see later ones.</figcaption></figure>"
    )


def _row(index: int, row: RowView, heaviest: float) -> Iterator[str]:
    yield f'<article class="row" style="--row:{_colour(index)}" data-dataset="{escape(row.dataset)}">'
    yield (
        f'<div class="name"><b>{escape(row.dataset)}</b><span class="style">{escape(row.task)}</span>'
        f"<code>{escape(row.id)}</code></div>"
    )
    numbers = [
        f"row {row.number:,}",
        *([] if row.epoch is None else [f"epoch {row.epoch}"]),
        count_of(row.tokens, "token"),
        f"{row.visual:,} visual",
        count_of(row.inputs, "frame" if row.kind == "video" else "crop"),
        f"{row.targets:,} learned, weighing {row.loss_weight:.3g}",
    ]
    yield f'<div class="numbers">{"".join(f"<span>{number}</span>" for number in numbers)}</div>'
    if row.reason is not None:
        place = f"It keeps its {row.tokens:,} tokens without loss." if row.tokens else "No pack holds it."
        yield f'<p class="bad">This row teaches nothing: {escape(row.reason)}. {place}</p>'
    for note, count in row.notes.items():
        yield f'<p class="note">{escape(note)}: {count:,}</p>'
    film = len(row.pictures) > 1
    yield f'<div class="content{" film" if film else " seen" if row.pictures else ""}">'
    if row.pictures:
        few = " few" if film and len(row.pictures) <= FEW else ""
        yield f'<div class="pictures{few}">'
        for number, picture in enumerate(row.pictures):
            yield from picture_html(picture, [mark for mark in row.marks if mark.picture == number], row)
        yield from legend_html(row)
        yield "</div>"
    yield '<div class="text">'
    yield from _text(index, row, heaviest)
    yield "</div></div></article>"


def _text(index: int, row: RowView, heaviest: float) -> Iterator[str]:
    """The blocks in order, those of one branch together. index: of the row in its pack."""
    branches = 1 + max((block.branch for block in row.blocks if block.branch is not None), default=-1)
    runs = "frame" if row.kind == "video" else "image"
    shown = -1
    for block in row.blocks:
        if block.branch is not None and block.branch != shown:
            if shown >= 0:
                yield "</div>"
            shown = block.branch
            yield '<div class="branch">'
            if branches > 1:
                yield f"<small>branch {shown + 1} of {branches}: sees the prefix, no other branch</small>"
        yield from _block(block, EXAMPLE_STRIDE * index + block.segment, row, runs, heaviest)
    if shown >= 0:
        yield "</div>"


def _block(block: Block, segment: int, row: RowView, runs: str, heaviest: float) -> Iterator[str]:
    media = any(piece.run is not None for piece in block.pieces)
    role = "prefix: media and their text" if block.role == "prefix" and media else block.role
    # In one line, since white space inside it is text; a line end that closes the block opens no empty line.
    text = re.sub(r"\n</i>$", "</i>", "".join(_piece(piece, row, runs, heaviest) for piece in block.pieces))
    yield f'<div class="block {block.role}" data-s="{segment}"><span class="role">{role}</span><p>{text}</p></div>'


def _piece(piece: Piece, row: RowView, runs: str, heaviest: float) -> str:
    place = f'data-i="{row.start + piece.index}" data-p="{piece.position}"'
    if piece.run is not None:
        return (
            f'<i class="run" {place} data-n="{piece.tokens}" data-picture="{piece.run}">'
            f"[{piece.tokens:,} {runs} tokens]</i>"
        )
    weight = ""
    if piece.weight is not None:
        weight = f' data-w="{piece.weight:.4g}" style="--w:{piece.weight / heaviest if heaviest else 0:.3f}"'
    text = escape(piece.text).replace("\n", '<span class="nl">↵</span>\n').replace("\t", '<span class="nl">⇥</span>\t')
    return f'<i class="t{" chip" if piece.special else ""}" {place}{weight}>{text}</i>'
