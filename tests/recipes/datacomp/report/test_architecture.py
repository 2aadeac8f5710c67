"""The figure of the guide is what the code draws now, with the sizes that the code has."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from trackyard.recipes.datacomp.report.architecture import FILE, architecture_figure

FIGURE = Path(__file__).parents[4] / "docs" / "figures" / FILE


def test_the_committed_file_is_what_the_code_draws() -> None:
    drawn = architecture_figure()
    assert FIGURE.read_text(encoding="utf-8") == drawn, "draw it again, as the module of the figure says"
    assert ElementTree.fromstring(drawn).tag == "{http://www.w3.org/2000/svg}svg"
    assert len(drawn) < 20_000


def test_the_figure_has_the_numbers_of_the_specification() -> None:
    drawn = architecture_figure()
    for words in ("64 x 1,024", "1,024 - 2,560 - 2,560", "16 x 64 x 64", "256 soft tokens", "66 tokens a picture"):
        assert words in drawn, words
