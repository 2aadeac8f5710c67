"""Every configuration is in every figure: read back from what was drawn."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest

from tests.recipes.nine.report.made_sweep import KEYS, SWEEP, TASKS, made_gathered, made_results, made_scores
from trackyard.evaluate.latency.statistics import Part, Summary
from trackyard.recipes.nine.report.comparing import put_out
from trackyard.recipes.nine.report.figures import draw_figures
from trackyard.recipes.nine.report.frontiers import AXES, frontiers
from trackyard.recipes.nine.report.gathering import put_together
from trackyard.recipes.nine.report.marks import MARKERS, Marks
from trackyard.recipes.nine.report.measured import TaskFacts
from trackyard.recipes.nine.report.pairs import Pairs

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All results of 27 configurations on nine data sets."""
    folder = tmp_path_factory.mktemp("results")
    gathered = made_gathered()
    put_out(gathered, folder, resamples=2_000)
    return folder


def points(svg: str, dataset: str, axis: str) -> list[tuple[float, float]]:
    """Places of the configurations of a panel in the drawing: uses of a shape, or shapes of their own."""
    found = []
    for group in ElementTree.fromstring(svg).iter(f"{SVG}g"):
        if group.get("id", "").startswith(f"points-{dataset}-t_{axis}_ms.P50-"):
            models = {id(path) for defs in group.iter(f"{SVG}defs") for path in defs.iter(f"{SVG}path")}
            found += [(float(use.get("x", "")), float(use.get("y", ""))) for use in group.iter(f"{SVG}use")]
            found += [middle(path.get("d", "")) for path in group.iter(f"{SVG}path") if id(path) not in models]
    return found


def middle(outline: str) -> tuple[float, float]:
    """Of a marker, all of which are as far to both sides."""
    numbers = [float(text) for text in re.findall(r"-?\d+(?:\.\d+)?", outline)]
    (left, right), (top, bottom) = ((min(found), max(found)) for found in (numbers[::2], numbers[1::2]))
    return (left + right) / 2, (top + bottom) / 2


def test_every_configuration_is_in_every_figure(drawn: Path) -> None:
    folder = drawn
    gathered = made_gathered()
    for task in TASKS:
        own = (folder / "figures" / f"{task.name}.svg").read_text()
        for axis in AXES:
            page = (folder / "figures" / f"all-{axis}.svg").read_text()
            wanted = sorted(
                (result.times.parts[axis].p50, result.metric[task.metric].value)
                for result in gathered.results[task.name].values()
            )
            for svg in (own, page):
                places = points(svg, task.name, axis)
                assert len(places) == len(KEYS)
                # One straight map takes the numbers to the drawing; y points downwards there.
                xs, ys = sorted(x for x, _ in places), sorted((y for _, y in places), reverse=True)
                for drawn_at, numbers in ((xs, [x for x, _ in wanted]), (ys, sorted(y for _, y in wanted))):
                    scale = (drawn_at[-1] - drawn_at[0]) / (numbers[-1] - numbers[0])
                    for place, number in zip(drawn_at, numbers, strict=True):
                        assert place == pytest.approx(drawn_at[0] + scale * (number - numbers[0]), abs=0.01)


def test_a_point_that_is_not_drawn_would_be_noticed(drawn: Path) -> None:
    svg = (drawn / "figures" / "mmmu.svg").read_text()
    start = svg.index('id="points-mmmu-t_total_ms.P50-')
    # The first of these groups has shapes that are used: its model is followed by what uses it.
    cut = svg[:start] + re.sub(r"<use [^>]*/>", "", svg[start:], count=1)
    assert len(points(cut, "mmmu", "total")) == len(KEYS) - 1


def test_words_of_a_figure(drawn: Path) -> None:
    mmmu, vqa = ((drawn / "figures" / f"{name}.svg").read_text() for name in ("mmmu", "text_vqa"))
    for words in ("answers of 3.2 tokens in the mean", "visual 3: 122 tokens", "12 experts", "6 blocks", "CPU, not"):
        assert words in mmmu
    assert ">chance<" in mmmu
    assert ">chance<" not in vqa
    assert "PARTIAL" not in mmmu + vqa


def test_a_partial_view_is_watermarked_in_its_figures_only(tmp_path: Path) -> None:
    two = TASKS[:2]
    # Few, for they are drawn as all are.
    sweep = replace(SWEEP, keys=SWEEP.keys[:4])
    names = {task.name for task in two}
    found = [each for each in made_results() if each.dataset in names and each.key in sweep.keys][:-1]
    gathered = put_together(sweep, two, found, made_scores, partial=True)
    draw_figures(gathered, frontiers(gathered), Pairs(gathered, resamples=100), tmp_path)
    told = {path.stem: "PARTIAL" in path.read_text() for path in tmp_path.glob("figures/*.svg")}
    assert told == {"coco_2014_vqa": False, "text_vqa": True} | {f"all-{axis}": True for axis in AXES}


def test_exact_repeats_are_marked_and_all_drawn(tmp_path: Path) -> None:
    task = TaskFacts(name="mmmu", title="MMMU", metric="mmmu")
    found = [each for each in made_results() if each.dataset == "mmmu"]
    found = [replace(each, times=found[0].times, metric=found[0].metric) for each in found]
    gathered = put_together(SWEEP, [task], found, made_scores)
    draw_figures(gathered, frontiers(gathered), Pairs(gathered, resamples=100), tmp_path)
    svg = (tmp_path / "figures" / "mmmu.svg").read_text()
    assert len(points(svg, "mmmu", "total")) == len(KEYS)
    assert svg.count(">27x<") == len(AXES)


def test_levels_look_different_and_rise() -> None:
    marks = Marks.of(made_results())
    assert (marks.visual, marks.experts, marks.depths) == ((1, 3, 6), (4, 8, 12), (4, 6, 8))
    assert len({marks.colour(level) for level in marks.visual}) == 3
    assert len({marks.marker(level) for level in marks.experts}) == 3
    sizes = [marks.diameter(depth) for depth in marks.depths]
    assert sizes == sorted(set(sizes))
    assert Marks.of([]).marker(None) == MARKERS[0]


def test_a_model_without_knobs_has_one_look(tmp_path: Path) -> None:
    """And its answers of one token have no decode step."""
    one = [each for each in made_results() if each.dataset == "mmmu"][:1]
    parts: dict[Part, Summary] = {part: each for part, each in one[0].times.parts.items() if part != "step"}
    bare = replace(
        one[0],
        configuration=type(one[0].configuration)(),
        times=replace(one[0].times, parts=parts),
    )
    sweep = replace(SWEEP, keys=(bare.key,))
    gathered = put_together(sweep, [TaskFacts(name="mmmu", title="", metric="mmmu")], [bare], made_scores)
    put_out(gathered, tmp_path, resamples=100)
    assert len(points((tmp_path / "figures" / "mmmu.svg").read_text(), "mmmu", "total")) == 1
    assert "no knobs" in (tmp_path / "report.md").read_text()
