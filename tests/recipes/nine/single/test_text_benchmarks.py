"""Benchmarks of texts beside other tasks: on the same folder, kept when complete, compared item by item."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.evaluate.harness.small_exports import made_items, tokenizer
from tests.models.tiny_families import tiny
from tests.recipes.nine.single.small_world import SmallWorld
from trackyard.digest import digest_file
from trackyard.errors import ConfigError, EnvironmentLacking, TrackyardError
from trackyard.recipes.nine.single.comparing import compare
from trackyard.recipes.nine.single.results import Evaluation
from trackyard.recipes.nine.single.running import evaluate
from trackyard.recipes.nine.single.wanted import Wanted

TASKS = ("hellaswag", "winogrande")
ITEMS = 5


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Items of benchmarks, and two causal models whose tokenizer knows their words."""
    root = tmp_path_factory.mktemp("texts")
    made_items(root / "items", ITEMS)
    for name, family in (("first", "gpt_neox"), ("second", "llama")):
        tiny(family).save_pretrained(root / name)
        tokenizer().save_pretrained(root / name)
    return root


def _wanted(world: SmallWorld, place: Path, out: Path, model: str = "first", **values: Any) -> Wanted:
    known: dict[str, Any] = {"names": TASKS, "data": (str(place / "items"),)}
    return Wanted(root=world.root, folder=place / model, out=out, **known | values)


def _run(wanted: Wanted, part: str | None = None, *, collect: bool = False) -> Evaluation | None:
    return evaluate(wanted, part, collect=collect, say=lambda _: None)


def test_benchmarks_are_results_as_others_are(small_world: SmallWorld, place: Path, tmp_path: Path) -> None:
    wanted = _wanted(small_world, place, tmp_path / "first")
    found = _run(wanted)
    assert found is not None
    for name, metric in (("hellaswag", "acc_norm"), ("winogrande", "acc")):
        task = found.tasks[name]
        assert (task.layout, task.metric, task.expected, task.cap_rate) == ("harness", metric, ITEMS, None)
        value = task.metrics[metric]
        assert value.lo <= value.value <= value.hi
        assert value.method == "normal"
        assert digest_file(tmp_path / "first" / name / "samples.jsonl") == task.files["samples.jsonl"]
    _run(_wanted(small_world, place, tmp_path / "second", "second"))
    compared = compare(tmp_path / "first", tmp_path / "second")
    assert [task.task for task in compared.tasks] == list(TASKS)
    assert all(task.difference.samples == ITEMS for task in compared.tasks)
    assert all(task.test == "mcnemar" for task in compared.tasks)


def test_each_part_does_whole_benchmarks_and_none_twice(
    small_world: SmallWorld, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = _wanted(small_world, place, tmp_path / "out")
    _run(wanted, "1/2")
    assert (tmp_path / "out/winogrande/config.json").is_file()
    assert not (tmp_path / "out/hellaswag").exists()
    with pytest.raises(TrackyardError, match="hellaswag is not there") as refused:
        _run(wanted, collect=True)
    assert refused.value.fix == wanted.again
    found = _run(wanted)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("asked again")

    monkeypatch.setattr("trackyard.evaluate.harness.run.run_on_export", refuse)
    again = _run(wanted)
    assert found is not None
    assert again is not None
    assert replace(again, code={}) == replace(found, code={})
    with pytest.raises(AssertionError, match="asked again"):
        _run(_wanted(small_world, place, tmp_path / "out", limit=3))


def test_what_cannot_be_asked_is_refused(
    small_world: SmallWorld, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(EnvironmentLacking, match="the items of hellaswag are not on this machine") as lacking:
        _run(_wanted(small_world, place, tmp_path / "out", data=()))
    assert lacking.value.fix == "trackyard data fetch hellaswag"
    with pytest.raises(ConfigError, match="hellaswag of a model of the kind 'molmo2'"):
        _run(_wanted(small_world, small_world.models, tmp_path / "out", "molmo2", data=(str(place / "items"),)))
