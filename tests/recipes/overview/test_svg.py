"""A drawing among others on one page: its ids are its own, and it asks for nothing."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.errors import DataError
from trackyard.recipes.overview.drawn import drawn
from trackyard.recipes.overview.svg import inline
from trackyard.recipes.reporting.drawing import new_figure

IDS = re.compile(r'\bid="([^"]+)"')
REFERENCES = re.compile(r'(?:url\(#|href="#)([^")]+)')


def drawing() -> str:
    figure = new_figure(3, 2)
    panel = figure.subplots()
    panel.plot([1, 2], [3, 4], marker="o")
    return drawn(figure, "same", caption="", alt="").svg


@pytest.fixture(scope="module")
def plotted() -> str:
    return drawing()


def test_two_drawings_of_one_page_share_no_id_and_find_their_own(plotted: str) -> None:
    one, other = (inline(plotted, name=name, alt="x") for name in ("one", "other"))
    assert set(IDS.findall(plotted)) & set(REFERENCES.findall(plotted)), "a drawing without clip paths shows nothing"
    assert not set(IDS.findall(one)) & set(IDS.findall(other))
    for text in (one, other):
        assert set(REFERENCES.findall(text)) <= set(IDS.findall(text))
        assert len(IDS.findall(text)) == len(set(IDS.findall(text)))


def test_text_stays_text_and_rules_for_the_whole_page_are_gone(plotted: str) -> None:
    text = inline(plotted, name="one", alt="a line that rises")
    assert "<text" in text
    assert "<style" not in text
    assert "stroke-linejoin: round" in text
    assert "metadata" not in text
    assert 'role="img" aria-label="a line that rises"' in text


@given(st.text(max_size=30))
def test_any_alt_text_is_escaped(alt: str) -> None:
    text = inline('<svg viewBox="0 0 9 9"><path/></svg>', name="n", alt=alt)
    assert text.count("<") == 3
    assert '"' not in alt or "&quot;" in text


@pytest.mark.parametrize(
    "inside",
    [
        '<image href="https://example.org/a.png"/>',
        '<use xlink:href="other.svg#a"/>',
        "<style>@import 'a.css';</style>",
        '<rect fill="url(https://example.org/#a)"/>',
        "<script>fetch('x')</script>",
        "<image href='https://example.org/a.png'/>",
        '<a href="data:text/html,hello"><path/></a>',
        '<path onload="fetch(1)"/>',
        "<foreignObject><p/></foreignObject>",
    ],
)
def test_what_would_fetch_something_is_refused(inside: str) -> None:
    with pytest.raises(DataError, match="asks for something outside of it"):
        inline(f'<svg viewBox="0 0 9 9">{inside}</svg>', name="n", alt="")


@pytest.mark.parametrize("text", ["<p>no drawing</p>", '<svg width="3"></svg>'])
def test_what_has_no_size_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="viewBox"):
        inline(text, name="n", alt="")
