"""A drawing made fit to stand inside a page beside others.

matplotlib names clip paths and markers after their content and axes after their number, so that two drawings of one
page share ids, and the second would be clipped by paths of the first.
"""

from __future__ import annotations

import re
from html import escape

from trackyard.errors import DataError

_OPENING = re.compile(r"<svg\b[^>]*>", re.DOTALL)
_VIEW = re.compile(r'\bviewBox="([-0-9.]+ [-0-9.]+ [0-9.]+ [0-9.]+)"')
_CLASS = re.compile(r'\bclass="([^"]*)"')
_METADATA = re.compile(r"\s*<metadata>.*?</metadata>", re.DOTALL)
_STYLE = re.compile(r'\s*<style type="text/css">\*\{([^}]*)\}</style>')
_IDS = re.compile(r'\bid="([^"]+)"')
_TO_ID = re.compile(r'(\burl\(#|\bhref="#)')
_OUTSIDE = re.compile(
    r"""\bhref\s*=\s*["'](?!#|data:image/)|\bsrc\s*=\s*["'](?!data:image/)|url\((?!#|["']?data:)|@import"""
    r"""|<(?:script|foreignObject)\b|<[^<>]*\son[a-z]+\s*=""",
    re.IGNORECASE,
)


def inline(drawing: str, *, name: str, alt: str) -> str:
    """The <svg> element of `drawing` with ids that begin with `name`, a width of its own, and `alt` for who cannot see.

    DataError where it has no size, or would fetch or run something.
    """
    drawing = _METADATA.sub("", drawing)
    opening = _OPENING.search(drawing)
    view = _VIEW.search(opening.group()) if opening else None
    outside = _OUTSIDE.search(drawing)
    if opening is None or view is None or outside:
        raise DataError(
            what=f"the figure {name} "
            + (f"asks for something outside of it: {outside.group()}" if outside else "has no <svg> with a viewBox"),
            why="the page is to be read without a network, and to fit a phone",
            fix="dvc repro compare   (which draws it again)",
        )
    body = drawing[opening.end() : drawing.rindex("</svg>")]
    style = _STYLE.search(body)
    body = _STYLE.sub("", body)
    # A rule for `*` would hold for the whole page; on a group it is inherited by the drawing alone.
    body = f'<g style="{style.group(1)}">{body}</g>' if style else body
    body = _IDS.sub(lambda found: f'id="{name}-{found.group(1)}"', body)
    body = _TO_ID.sub(lambda found: f"{found.group(1)}{name}-", body)
    width = float(view.group(1).split()[2])
    named = _CLASS.search(opening.group())
    attributes = [
        *([named.group()] if named else []),
        'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"',
        f'viewBox="{view.group(1)}" style="--wide:{width:.0f}px" role="img" aria-label="{escape(alt)}"',
    ]
    return f"<svg {' '.join(attributes)}>{body}</svg>"
