"""What is asked for on the command line, before anything is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.recipes.nine.single.small_world import ROOT
from trackyard.errors import ConfigError
from trackyard.recipes.nine.single.wanted import Wanted


def _wanted(**values: Any) -> Wanted:
    known: dict[str, Any] = {"root": ROOT, "folder": Path("m"), "out": Path("o"), "names": ("ai2d",), "data": ("d",)}
    return Wanted(**known | values)


def test_tasks_by_name_and_group_each_once_in_order() -> None:
    wanted = _wanted(names=("multi_image", "ai2d", "blink"))
    assert list(wanted.chosen) == ["blink", "muirbench", "mmiu", "ai2d"]
    with pytest.raises(ConfigError, match="no task 'ai2'; did you mean 'ai2d'"):
        _ = _wanted(names=("ai2",)).chosen


def test_metrics_that_cannot_be_had_are_told_and_not_scored() -> None:
    tracking = _wanted(names=("tracking",))
    assert all("jf" not in task.metrics and task.metric == "hota" for task in tracking.chosen.values())
    captions = _wanted(names=("captions", "ai2d"))
    assert list(captions.chosen) == ["ai2d"]
    assert list(captions.not_measured) == ["molmo2-capeval"]
    with pytest.raises(ConfigError, match="nothing of captions can be scored; molmo2-capeval: caption F1"):
        _ = _wanted(names=("captions",)).chosen


def test_a_folder_of_its_own_comes_before_one_for_all(tmp_path: Path) -> None:
    wanted = _wanted(names=("ai2d", "nine"), data=("general", "ai2d=own", "coco_caption=a=b"))
    assert wanted.places["ai2d"] == Path("own")
    assert wanted.places["coco_caption"] == Path("a=b")
    assert wanted.places["mmmu"] == Path("general")
    whole = _wanted(names=("nine",), data=("nine=by_group",))
    assert set(whole.places.values()) == {Path("by_group")}
    (tmp_path / "molmo/staged").mkdir(parents=True)
    target = _wanted(names=("mmmu", "ai2d"), data=(str(tmp_path),))
    assert target.questions_of(target.chosen["mmmu"]) == tmp_path / "molmo/staged"
    assert target.questions_of(target.chosen["ai2d"]) == tmp_path, "a snapshot is read as it is"
    direct = _wanted(names=("mmmu",), data=(str(tmp_path / "molmo/staged"),))
    assert direct.questions_of(direct.chosen["mmmu"]) == tmp_path / "molmo/staged"


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("places", {"data": ()}, "no data for ai2d"),
    ("places", {"data": ("one", "two")}, "--data names one and two, both for all tasks"),
    ("places", {"data": ("ai2=x",)}, "no task 'ai2'"),
    ("numbers", {"samples": ("ai2d",)}, "--samples ai2d"),
    ("numbers", {"samples": ("ai2d=0",)}, "--samples ai2d=0"),
    ("numbers", {"samples": ("mmmu=3",)}, "--samples mmmu=3"),
]


@pytest.mark.parametrize(("what", "values", "told"), REFUSED)
def test_what_cannot_be_meant_is_refused(what: str, values: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        getattr(_wanted(**values), what)


def test_benchmarks_of_texts_need_no_folder() -> None:
    wanted = _wanted(names=("text",), data=())
    assert len(wanted.compared) == 5
    assert not wanted.answered
    assert not wanted.places


def test_the_command_that_goes_on_is_the_same_one() -> None:
    wanted = _wanted(names=("ai2d", "mmmu"), data=("a b", "ai2d=c"), limit=9, samples=("mmmu=3",), visual=2)
    assert wanted.again == (
        "trackyard evaluate run m --out o --tasks ai2d --tasks mmmu --data 'a b' --data ai2d=c "
        "--samples mmmu=3 --limit 9 --visual 2 --precision fp32"
    )
