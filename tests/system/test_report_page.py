"""The report in a browser: everything on it came with it, numbers are those of the artifacts, nothing is cut off."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.recipes.overview.made_tracks import COUNTING, make_all
from tests.system.browser import chromium, requested
from trackyard.recipes.overview.tracks import ALL
from trackyard.recipes.overview.writing import write_report

DESK, PHONE, PAPER = 1280, 390, 702
"""Pixels of CSS; of paper: A4 without its margins."""
MEASURE = """
const shown = (element) => element.checkVisibility();
return {
  page: document.scrollingElement.scrollWidth, window: innerWidth,
  sections: [...document.querySelectorAll('section[id]')].map(section => section.id),
  tables: Object.fromEntries([...document.querySelectorAll('table')].map(table => [table.caption.textContent,
    [...table.tBodies[0].rows].map(row => [...row.cells].map(cell => cell.textContent))])),
  drawings: [...document.querySelectorAll('figure svg')].filter(shown).map(svg => {
    const box = svg.getBoundingClientRect();
    return {width: box.width, height: box.height, label: svg.getAttribute('aria-label'),
            texts: svg.querySelectorAll('text').length};
  }),
  cut: [...document.querySelectorAll('.box')].filter(box => shown(box) && box.scrollWidth > box.clientWidth + 1)
    .map(box => box.getAttribute('aria-label')),
  small: [...document.querySelectorAll('figure svg text')].filter(shown)
    .map(text => text.getBoundingClientRect().height).filter(height => height > 0).sort((a, b) => a - b)[0],
  ground: getComputedStyle(document.body).backgroundColor,
  loaded: performance.getEntriesByType('resource').map(entry => entry.name),
};
"""
OPEN = "document.querySelectorAll('details').forEach(block => block.open = true)"

pytestmark = [pytest.mark.system, pytest.mark.browser]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the report of all tracks."""
    made = tmp_path_factory.mktemp("tracks")
    make_all(made)
    write_report(made)
    return made


@pytest.fixture(scope="module")
def driver(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with chromium(tmp_path_factory.mktemp("profile"), width=DESK, height=1000) as started:
        yield started


def opened(driver: Any, root: Path, width: int, *, media: str = "screen", scheme: str = "light") -> dict[str, Any]:
    """What the page shows at a width. Leaves a screenshot."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
    driver.get((root / "report" / "index.html").as_uri())
    shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True})
    folder = Path(os.environ.get("TRACKYARD_SCREENSHOTS", str(root)))
    (folder / f"report-{media}-{scheme}-{width}.png").write_bytes(base64.b64decode(shot["data"]))
    if media == "screen":
        driver.execute_script(OPEN)
    found: dict[str, Any] = driver.execute_script(MEASURE)
    assert driver.get_log("browser") == [], "the console has nothing to say"
    return found


def schemes(driver: Any) -> set[str]:
    """Of what was asked for since the last call, but for the browser's own first tab."""
    return {address.partition(":")[0] for address in requested(driver)} - {"chrome"}


def test_a_page_that_asks_for_something_is_noticed(driver: Any, root: Path) -> None:
    (root / "asking.html").write_text('<img src="http://127.0.0.1:9/a.png">')
    driver.get((root / "asking.html").as_uri())
    assert "http" in schemes(driver)
    assert driver.get_log("browser")


def test_everything_is_there_and_came_with_the_page(driver: Any, root: Path) -> None:
    found = opened(driver, root, DESK)
    assert [name for name in found["sections"] if "-" not in name] == ["summary", *ALL, "costs", "lineage"]
    assert found["loaded"] == []
    asked = schemes(driver)
    assert "file" in asked
    assert asked <= {"file", "data"}
    assert len(found["drawings"]) > 12
    for drawing in found["drawings"]:
        assert drawing["width"] > 300, drawing
        assert drawing["height"] > 80, drawing
        assert drawing["texts"] > 3, drawing
        assert drawing["label"], drawing


def test_numbers_are_those_of_the_artifacts(driver: Any, root: Path) -> None:
    tables = opened(driver, root, DESK)["tables"]
    stages = {row[0]: row[1:] for row in tables["stages of Molmo2, from start to trained"]}
    assert stages["counting, accuracy"] == [f"12.5% to {value:.1%}" for value in COUNTING.values()]
    pile_ffn = json.loads((root / "artifacts" / "pile_ffn" / "results" / "summary.json").read_bytes())["body"]
    quality = next(rows for title, rows in tables.items() if title.startswith("perplexity on held-out"))
    assert {row[0]: row[2] for row in quality} == {row["arm"]: f"{row['ppl']['mean']:.2f}" for row in pile_ffn["table"]}
    datacomp = json.loads((root / "artifacts" / "datacomp" / "results" / "summary.json").read_bytes())["body"]
    scores = next(rows for title, rows in tables.items() if title.startswith("score, mean over seeds"))
    vsr = {row["arm"]: f"{row['score']:.3f}" for row in datacomp["table"] if row["set"] == "vsr"}
    assert {row[0]: row[2].partition(" ")[0] for row in scores} == vsr
    nine = json.loads((root / "artifacts" / "nine" / "results" / "result.json").read_bytes())["body"]["data_sets"]
    overview = next(rows for title, rows in tables.items() if title.startswith("accuracy [95 %] and"))
    assert [row[3] for row in overview] == [f"{numbers['best_ms']:.1f}" for numbers in nine.values()]


def test_a_phone_scrolls_down_and_never_sideways(driver: Any, root: Path) -> None:
    found = opened(driver, root, PHONE)
    assert found["window"] == PHONE
    assert found["page"] <= PHONE
    assert found["cut"], "wide tables and figures scroll inside their own box"
    assert found["small"] > 5, "letters of figures in pixels"


def test_dark_where_it_is_wished_for(driver: Any, root: Path) -> None:
    light, dark = (opened(driver, root, DESK, scheme=scheme)["ground"] for scheme in ("light", "dark"))
    assert light == "rgb(255, 255, 255)"
    assert sum(map(int, dark.removeprefix("rgb(").rstrip(")").split(","))) < 120


def test_on_paper_nothing_is_cut_off(driver: Any, root: Path) -> None:
    found = opened(driver, root, PAPER, media="print")
    assert found["page"] <= PAPER
    assert found["cut"] == []
    folded = driver.execute_script("return document.querySelectorAll('details').length")
    assert folded > 5
    hidden = driver.execute_script(
        "return [...document.querySelectorAll('details table, details svg')].filter(e => !e.checkVisibility()).length"
    )
    assert hidden == 0, "what is folded on a screen is open on paper"
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    printed = driver.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True, "printBackground": True})
    assert base64.b64decode(printed["data"]).startswith(b"%PDF")
