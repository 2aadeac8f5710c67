"""Blocks as Markdown: figures are files beside it, and a bar inside a cell begins no cell."""

from __future__ import annotations

import pytest

from trackyard.recipes.overview.blocks import Caveat, Command, Folded, Picture, Section, Table, Text
from trackyard.recipes.overview.markdown import markdown, pictures
from trackyard.recipes.reporting.grid import Grid


def picture(name: str, png: bytes | None) -> Picture:
    return Picture(name=name, caption=f"What {name} shows", alt=f"alt of {name}", svg="<svg/>", png=png)


SECTIONS = [
    Section(
        anchor="a",
        title="A",
        blocks=(Text("words"), Caveat("be wary"), Folded("more", (picture("one", b"png"),))),
        parts=(Section(anchor="b", title="B", blocks=(picture("two", None), Command(("x --y",)))),),
    )
]


def test_the_whole_file() -> None:
    assert markdown("T", SECTIONS) == (
        "# T\n\n## A\n\nwords\n\n> be wary\n\n**more**\n\n![alt of one](figures/one.png)\n\nWhat one shows\n\n"
        "### B\n\n```bash\nx --y\n```\n"
    )


def test_pictures_are_found_wherever_they_stand() -> None:
    assert [found.name for found in pictures(SECTIONS)] == ["one", "two"]


def shown(words: str) -> str:
    return markdown("T", [Section(anchor="a", title="A", blocks=(Text(words),))]).splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "written"),
    [
        ("![seen](http://host/a.png)", r"\![seen\](http://host/a.png)"),
        ("<img src=x>", r"\<img src=x>"),
        ("a * b * c, _all_", r"a \* b \* c, \_all\_"),
        ("# no\n- list", r"\# no - list"),
        ("> quoted >= 3", r"\> quoted >= 3"),
        ("`a * <b>` and *", r"`a * <b>` and \*"),
        ("nonneg_mlp_both [0.1, 0.2], -0.3 | 4", "nonneg_mlp_both [0.1, 0.2], -0.3 | 4"),
    ],
)
def test_a_text_is_no_markup_whatever_it_holds(words: str, written: str) -> None:
    assert shown(words) == written


def test_words_for_who_cannot_see_end_where_they_end() -> None:
    drawn = Picture(name="p", caption="c", alt="a](http://host) [b", svg="<svg/>", png=b"png")
    text = markdown("T", [Section(anchor="a", title="A", blocks=(drawn,))])
    assert r"![a\](http://host) \[b](figures/p.png)" in text


def test_a_bar_in_a_cell() -> None:
    grid = Grid(title="what", header=("a", "b"), rows=(("x|y", "1"),))
    lines = markdown("T", [Section(anchor="a", title="A", blocks=(Table(grid),))]).splitlines()
    assert lines[-1] == "| x\\|y | 1 |"
    assert "What:" in lines
