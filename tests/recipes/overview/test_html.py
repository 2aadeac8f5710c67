"""Blocks as HTML: every text is escaped, every table has a caption and headers, and the contents lead to sections."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from trackyard.recipes.overview.blocks import Block, Bullets, Caveat, Command, Folded, Picture, Section, Table, Text
from trackyard.recipes.overview.html import page
from trackyard.recipes.reporting.grid import Grid

VOID = {"meta", "link", "wbr", "path", "rect"}
WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="`"), max_size=20)


class Shape(HTMLParser):
    """Tags that are open, all ids, what links lead to, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.open += [] if tag in VOID else [tag]
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.links += [value for name, value in attrs if name == "href" and value]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def shape(*blocks: Block) -> Shape:
    found = Shape()
    inner = Section(anchor="inner", title="Inside")
    found.feed(page("A title", [Section(anchor="outer", title="Outside", blocks=blocks, parts=(inner,))]))
    assert found.open == []
    return found


@given(WORDS, WORDS, WORDS)
def test_whatever_a_text_holds_it_is_shown_and_nothing_else(words: str, cell: str, title: str) -> None:
    grid = Grid(title=title, header=("a", "b"), rows=((cell, words),))
    plain = shape(Text("x"), Bullets(("x",)), Command(("x",)), Caveat("x"), Folded("x", (Table(grid),)))
    found = shape(Text(words), Bullets((words,)), Command((words,)), Caveat(words), Folded(title, (Table(grid),)))
    assert [tag for tag in found.tags if tag != "wbr"] == [tag for tag in plain.tags if tag != "wbr"]
    assert found.text.count(words) >= 4 or not words


def test_contents_lead_to_sections_that_are_there() -> None:
    found = shape()
    targets = {link[1:] for link in found.links if link.startswith("#")}
    assert targets == {"top", "outer", "inner"}
    assert targets <= set(found.ids)


def test_a_table_has_a_caption_and_headers_of_rows_and_columns() -> None:
    html = page("t", [Section(anchor="a", title="A", blocks=(Table(_grid(), frozenset({1}), frozenset({1})),))])
    assert "<caption><span>three arms</span></caption>" in html
    assert '<th scope="col" class="words">arm</th><th scope="col" class="words wide">says</th>' in html
    assert '<th scope="row">baseline</th><td class="words wide">no claim</td><td>1.5</td>' in html


def test_a_picture_has_words_for_who_cannot_see_it() -> None:
    picture = Picture(name="p", caption="What falls", alt="Falls to 1", svg='<svg viewBox="0 0 9 9"></svg>', png=None)
    html = page("t", [Section(anchor="a", title="A", blocks=(picture,))])
    assert 'role="img" aria-label="Falls to 1"' in html
    assert "<figcaption>What falls</figcaption>" in html


def test_the_browser_is_told_to_fetch_and_run_nothing() -> None:
    assert """content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">""" in page("t", [])


def test_code_between_backticks() -> None:
    assert "<p>run <code>a &lt; b</code> now</p>" in page(
        "t", [Section(anchor="a", title="A", blocks=(Text("run `a < b` now"),))]
    )


def _grid() -> Grid:
    return Grid(title="three arms", header=("arm", "says", "ppl"), rows=(("baseline", "no claim", "1.5"),))
