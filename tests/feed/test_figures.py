"""The figures of the guide: they show the rules themselves, and the committed files are what the code draws now."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from trackyard.feed.figures import frames_figure, plan_figure, tree_figure, worked_example
from trackyard.feed.tree import allowed
from trackyard.plan.plan import ARRAYS

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "figures"
DRAWN = {"message-tree.svg": tree_figure, "plan.svg": plan_figure, "frames.svg": frames_figure}


@pytest.mark.parametrize("name", DRAWN)
def test_the_committed_file_is_what_the_code_draws(name: str) -> None:
    drawn = DRAWN[name]()
    assert (FOLDER / name).read_text(encoding="utf-8") == drawn, f"draw it again: trackyard feed figures ({name})"
    assert drawn == DRAWN[name]()
    assert len(drawn) < 20_000
    assert ElementTree.fromstring(drawn).tag == "{http://www.w3.org/2000/svg}svg"


def test_the_worked_example_of_section_8() -> None:
    pack = worked_example()
    assert pack.segments.tolist() == [10_000] * 4 + [0, 0, 1, 1, 100_000, 100_000]
    assert pack.positions.tolist() == [0, 1, 2, 3, 4, 5, 4, 5, 0, 1]
    assert allowed(pack.segments, pack.examples, pack.visual_flags).sum() == 36
    assert "36 of 100 pairs" in tree_figure()


def test_the_figures_state_what_is_drawn() -> None:
    assert all(name in plan_figure() for name in ARRAYS)
    frames = frames_figure()
    for words in ("21 times: 0.0 0.5 1.0 1.5 … 9.5 10.0", "8 times: 0.0 1.5 2.9 4.4 5.8 7.3 8.7 10.2", "11 times"):
        assert words in frames
