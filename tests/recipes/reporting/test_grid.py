"""Tables of texts: aligned for a terminal, and as Markdown."""

from __future__ import annotations

from trackyard.recipes.reporting.grid import Grid

GRID = Grid(title="numbers", header=("arm", "score"), rows=(("base", "0.5"), ("a longer one", "12.25")))


def test_the_first_column_is_words_and_the_others_are_numbers() -> None:
    assert GRID.plain() == [
        "numbers",
        "arm           score",
        "------------  -----",
        "base            0.5",
        "a longer one  12.25",
    ]


def test_markdown() -> None:
    assert GRID.markdown({1})[1] == "| --- | --- |"
    hostile = Grid(title="", header=("a|b", "c"), rows=(("x\ny", "1|2"),))
    assert hostile.markdown() == ["| a\\|b | c |", "| --- | ---: |", "| x y | 1\\|2 |"]
    assert GRID.markdown() == ["| arm | score |", "| --- | ---: |", "| base | 0.5 |", "| a longer one | 12.25 |"]
