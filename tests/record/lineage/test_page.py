"""The page names every link, asks nothing of a network, and its drawing is sound SVG with each box at its own place."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path

import pytest

from tests.record.lineage.stage_world import TABLE
from trackyard.record.lineage.chain import chain_of
from trackyard.record.lineage.groups import groups
from trackyard.record.lineage.links import Claim, Kind, Link
from trackyard.record.lineage.page import chain_page, chain_svg

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def chain(made_stages: Path) -> Link:
    return chain_of(made_stages / TABLE, made_stages)


def link(kind: Kind, name: str, *inputs: Link, absent: str | None = None, **facts: str) -> Link:
    return Link(kind=kind, name=name, fix="", facts=facts, absent=absent, inputs=inputs,
                claims=(Claim(what="x", expected="1", found="1"),))  # fmt: skip


def many(count: int) -> Link:
    """A run on `count` data sets, from a parent on the same."""
    sets = [link("snapshot", f"snapshot {at}", licence="MIT") for at in range(count)]
    code = link("code", "code")
    parent = link("run", "parent: run", *sets, code)
    return link("made", "files", link("run", "run", *sets, parent, code))


def test_every_link_and_the_proving_command_are_on_the_page(chain: Link) -> None:
    page = chain_page(chain, TABLE)
    assert f"trackyard lineage verify {TABLE}" in page
    for one in chain.walk():
        assert page.count(one.name) >= 1, one.name
    assert "the table &lt;of all arms&gt;" in page
    assert "the table <of" not in page
    assert "The licence of 2 data sets is unknown" in page
    assert "contradict or lack" not in page


def test_nothing_is_asked_of_a_network_and_no_script_runs(chain: Link) -> None:
    page = chain_page(chain, TABLE).replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"https?:|<script|src=|@import|<link|//[a-z]", page)
    assert set(re.findall(r'href="([^"]*)"', page)) == {f"#link-{at}" for at in range(len(groups(chain)))}
    assert re.findall(r"url\(([^)]*)\)", page) == ["#chain-head"] * page.count("url(")


class _Elements(HTMLParser):
    """Names of all elements, and of their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found |= {tag, *(name for name, _ in attrs)}


def elements(page: str) -> set[str]:
    parser = _Elements()
    parser.feed(page)
    return parser.found


def test_no_name_and_no_fact_becomes_an_element() -> None:
    evil = """</text></svg><script>x</script>'" onload="x" <img src=//e.example/x onerror=x>&lt;"""
    snapshots = [
        link("snapshot", f"snapshot {evil}{at}", absent=evil, licence=evil, source=evil, dataset=evil,
             fingerprint=f"{at}{evil}", **{evil: evil})
        for at in range(2)
    ]  # fmt: skip
    stage = link("stage", f"stage {evil}@{evil}", *snapshots, does=evil, command=evil)
    plain = link("stage", "stage x@y", link("snapshot", "snapshot z"), link("snapshot", "snapshot y"))
    drawn = link("made", f"made {evil}", stage, link("model", f"model {evil}", id=evil), path=evil)
    page = chain_page(drawn, evil)
    assert elements(page) <= elements(chain_page(link("made", "x", plain), "x")) | {"ul", "li", "b"}
    ElementTree.fromstring(chain_svg(drawn))
    assert "trackyard lineage verify &#x27;&lt;/text&gt;" in page, "the shell takes the path as one word"


def test_anchors_lead_to_sections_and_the_drawing_alone_has_none(chain: Link) -> None:
    page = chain_page(chain, TABLE)
    for at in range(len(groups(chain))):
        assert page.count(f'id="link-{at}"') == 1
    assert "href" not in chain_svg(chain)


def test_what_is_wrong_is_told_first() -> None:
    page = chain_page(link("made", "made x", link("image", "image", absent="no file of it")), "x")
    assert page.index("contradict or lack") < page.index("<svg")
    assert "<b>image</b>: cannot be proved here: no file of it" in page
    assert 'class="wrong"' in page


def boxes(svg: str) -> Iterator[tuple[float, float, float, float]]:
    for rect in ElementTree.fromstring(svg).iter(f"{SVG}rect"):
        yield tuple(float(rect.get(key, "")) for key in ("x", "y", "width", "height"))  # type: ignore[misc]


@pytest.mark.parametrize("which", ["table", 1, 18, 60])
def test_boxes_lie_apart_in_the_drawing_and_hold_their_text(which: str | int, chain: Link) -> None:
    drawn = chain if isinstance(which, str) else many(which)
    svg = chain_svg(drawn)
    root = ElementTree.fromstring(svg)
    width, height = float(root.get("width", "")), float(root.get("height", ""))
    placed = list(boxes(svg))
    assert len(placed) == len(groups(drawn))
    for x, y, w, h in placed:
        assert x >= 0
        assert y >= 0
        assert x + w <= width
        assert y + h <= height
    for (x1, y1, w1, h1), (x2, y2, w2, h2) in combinations(placed, 2):
        assert x1 + w1 <= x2 or x2 + w2 <= x1 or y1 + h1 <= y2 or y2 + h2 <= y1
    texts = [text.text or "" for text in root.iter(f"{SVG}text")]
    assert max(map(len, texts)) <= 32, "what is longer would leave its box"


def test_eighteen_data_sets_are_one_box_and_one_table() -> None:
    found = groups(many(18))
    assert [group.title for group in found] == ["files", "run", "parent: run", "18 data sets", "code"]
    assert [group.inputs for group in found] == [(1,), (2,), (3, 4), (), ()], "what follows through another is left out"
    page = chain_page(many(18), "x")
    assert page.count("<tr><td>snapshot ") == 18


def test_exports_that_share_a_box_are_told_by_their_place() -> None:
    exports = [link("made", f"artifacts/x/export/{at}/42: files") for at in ("baseline", "flat")]
    models = [link("model", f"parent: model {name}") for name in ("llm", "vision")]
    drawn = chain_svg(link("made", "made y", link("stage", "stage x:table", *exports), *models))
    assert ">baseline/42, flat/42</text>" in drawn
    assert ">llm, vision</text>" in drawn


def test_the_items_of_a_matrix_are_one_box(chain: Link) -> None:
    titles = {group.title: group for group in groups(chain)}
    assert len(titles["stage toy:train, 2 times"].links) == 2
    assert ">left, right</text>" in chain_svg(chain)
    order = [group.layer for group in groups(chain)]
    assert order == sorted(order)
    assert sum(len(group.links) for group in groups(chain)) == len(list(chain.walk()))
