"""Pages hold every configuration with all that is known of it, and need nothing but the library beside them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.recipes.nine.report.made_sweep import KEYS, TASKS, made_gathered
from trackyard.recipes.nine.report.frontiers import AXES, frontiers
from trackyard.recipes.nine.report.interactive import FOLDER, LIBRARY, all_figure, task_figure, write_pages
from trackyard.recipes.nine.report.marks import Marks
from trackyard.recipes.nine.report.pairs import Pairs


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    gathered = made_gathered()
    made = write_pages(gathered, frontiers(gathered), Pairs(gathered, resamples=100), folder)
    assert list(made) == [f"{FOLDER}/{name}.html" for name in ("all", *(task.name for task in TASKS))]
    return folder / FOLDER


def traces(page: str) -> list[dict[str, Any]]:
    """The data of a page's figure."""
    start = page.index("[", page.index("Plotly.newPlot("))
    found, _ = json.JSONDecoder().raw_decode(page[start:])
    return [trace for trace in found if "customdata" in trace]


def test_every_configuration_is_on_every_page(pages: Path) -> None:
    gathered = made_gathered()
    for task in TASKS:
        found = traces((pages / f"{task.name}.html").read_text())
        assert len(found) == len(AXES)
        for axis, trace in zip(AXES, found, strict=True):
            assert set(trace["customdata"]) == set(KEYS.values())
            for key, x, y, told in zip(trace["customdata"], trace["x"], trace["y"], trace["hovertext"], strict=True):
                result = gathered.results[task.name][key]
                assert (x, y) == (result.times.parts[axis].p50, result.metric[task.metric].value)
                for words in (result.words, result.name, "P95", "visual tokens", "blocks 0 1", "24 of 24 questions"):
                    assert words in told
    everything = traces((pages / "all.html").read_text())
    assert len(everything) == len(AXES) * len(TASKS)
    assert all(set(trace["customdata"]) == set(KEYS.values()) for trace in everything)


def test_pages_name_no_address_and_share_one_library(pages: Path) -> None:
    assert sorted(path.name for path in pages.iterdir() if path.suffix != ".html") == [LIBRARY]
    for path in pages.glob("*.html"):
        text = path.read_text()
        assert "://" not in text
        assert re.findall(r'src="([^"]+)"', text) == [LIBRARY]
        assert all((pages / link).is_file() for link in re.findall(r'href="([^"]+)"', text))


def test_plotly_knows_every_property_of_the_figures() -> None:
    """Its own check, which is too slow for every page, refuses names that it does not know."""
    from plotly.graph_objects import Figure

    gathered = made_gathered()
    found, marks = frontiers(gathered), Marks.of(gathered.all)
    pairs = Pairs(gathered, resamples=100)
    Figure(task_figure(gathered, found["mmmu"], pairs, marks))
    whole = all_figure(gathered, found, pairs, marks)
    Figure(whole)
    with pytest.raises(ValueError, match="colour"):
        Figure({"data": [{"type": "scatter", "marker": {"colour": "red"}}]})
    for button in whole["layout"]["updatemenus"][0]["buttons"]:
        shown = button["args"][0]["visible"]
        assert len(shown) == len(whole["data"])
        drawn = [trace for trace, seen in zip(whole["data"], shown, strict=True) if seen and "customdata" in trace]
        assert [trace["name"] for trace in drawn] == list(found)
