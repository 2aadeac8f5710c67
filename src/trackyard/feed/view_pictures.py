"""Pictures of a row in HTML: what the model is given, the points on it, and what their colours mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from trackyard.feed.styles import Kind, style_of
from trackyard.feed.view_parts import Picture, RowView
from trackyard.feed.view_points import Mark

GOLDEN_ANGLE = 137.508
"""Degrees between the hues of successive ids: neighbours differ, however many there are."""
TALLEST = 32
"""Height of a picture, in the page's units (rem)."""


def count_of(number: int, noun: str) -> str:
    """A number with its noun: "1 row", "1,200 rows"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def picture_html(picture: Picture, marks: Sequence[Mark], row: RowView) -> Iterator[str]:
    """A picture in the aspect of its source, with its crops and the points on it. marks: those of this picture."""
    ratio = picture.width / picture.height
    shape = f"aspect-ratio:{picture.width}/{picture.height}"
    # A tall picture is limited by its height, a wide one by its column.
    shape += f";max-width:{TALLEST * ratio:.1f}rem" if ratio < 1 else ""
    yield f'<figure class="picture"><div class="frame" style="{shape}">'
    yield f'<img alt="{escape(picture.caption)}" src="{picture.uri}">'
    for crop in picture.crops:
        yield (
            f'<i class="crop" style="left:{_percent(crop.left)};top:{_percent(crop.top)};'
            f'width:{_percent(crop.width)};height:{_percent(crop.height)}"></i>'
        )
    for mark in marks:
        yield _point(mark, row)
    yield f"</div><figcaption>{escape(picture.caption)}</figcaption></figure>"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.4f}%"


def _hue(mark: Mark, row: RowView) -> str:
    """By track where ids name objects, else by branch, since ids then only count."""
    number = int(mark.name) if _by_track(row) and not mark.stored else mark.branch + 1
    return f"{(200 + GOLDEN_ANGLE * number) % 360:.0f}"


def _by_track(row: RowView) -> bool:
    return style_of(row.task).kind is Kind.TRACKS


def _point(mark: Mark, row: RowView) -> str:
    kinds = ["point"]
    kinds += ["stored"] if mark.stored else []
    kinds += ["hidden"] if mark.occluded else []
    kinds += ["off"] if mark.agrees is False else []
    frame = f"{mark.frame:.2f} s" if row.kind == "video" else f"image {mark.frame:g}"
    say = f"{'stored' if mark.stored else 'taught'} {mark.name} · {frame} · x {mark.x:.3f}, y {mark.y:.3f}"
    say += ", occluded" if mark.occluded else ""
    say += "\nno stored point of this frame lies here" if mark.agrees is False else ""
    return (
        f'<b class="{" ".join(kinds)}" style="left:{_percent(mark.x)};top:{_percent(mark.y)};--hue:{_hue(mark, row)}" '
        f'data-id="{escape(mark.name)}" data-branch="{mark.branch}" data-x="{mark.x!r}" data-y="{mark.y!r}" '
        f'data-say="{escape(say)}"></b>'
    )


def legend_html(row: RowView) -> Iterator[str]:
    """What the colours of the points mean; pointing at an entry dims all others."""
    taught = [mark for mark in row.marks if not mark.stored]
    stored = len(row.marks) - len(taught)
    if not row.marks:
        return
    yield '<ul class="legend">'
    if _by_track(row):
        for name in sorted({mark.name for mark in taught}, key=int):
            mark = next(item for item in taught if item.name == name)
            many = sum(item.name == name for item in taught)
            yield (
                f'<li data-branch="{mark.branch}" data-id="{name}"><i class="dot" style="--hue:{_hue(mark, row)}"></i>'
                f"track {name} ({count_of(many, 'point')})</li>"
            )
    else:
        for branch in sorted({mark.branch for mark in taught}):
            mark = next(item for item in taught if item.branch == branch)
            many = sum(item.branch == branch for item in taught)
            label = row.labels[branch] or f"branch {branch + 1}"
            yield (
                f'<li data-branch="{branch}"><i class="dot" style="--hue:{_hue(mark, row)}"></i>'
                f"{escape(label)} ({count_of(many, 'point')})</li>"
            )
    if stored:
        yield f'<li><i class="ring"></i>stored ({stored:,})</li>'
    off = sum(mark.agrees is False for mark in taught)
    if off:
        yield f'<li class="wrong">{off:,} taught on no stored point</li>'
    yield "</ul>"
