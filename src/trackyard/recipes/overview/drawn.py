"""A matplotlib figure as a picture of the report: SVG for the page, PNG bytes for the repository."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from trackyard.recipes.overview.blocks import Picture
from trackyard.recipes.reporting.drawing import save

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def drawn(figure: Figure, name: str, *, caption: str, alt: str) -> Picture:
    """The picture `name`. The same figure gives the same bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        save(figure, path, name)
        return Picture(
            name=name,
            caption=caption,
            alt=alt,
            svg=path.with_suffix(".svg").read_text(encoding="utf-8"),
            png=path.with_suffix(".png").read_bytes(),
        )
