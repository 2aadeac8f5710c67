from dataclasses import replace
from pathlib import Path

import pytest

from trackyard.errors import ConfigError, DataError
from trackyard.evaluate.sweep.configuration import (
    SCHEMA,
    Configuration,
    Evaluated,
    Sweep,
    configurations,
    key,
    read_sweep,
    write_sweep,
)
from trackyard.evaluate.sweep.levels import KnobLevels, Point
from trackyard.evaluate.sweep.strategies import points
from trackyard.sealed import read_sealed, write_sealed

EVALUATED = Evaluated(model="m1", processor={"crop": 378}, precision="bf16", prompts="p1", importance="i1")
BASE = Configuration(visual=6, experts=8, blocks=(0, 1, 3))
SCORES = [1.0, 0.3, 0.1, 0.2, 0.4, 0.6, 0.5, 1.0]
FIX = "again"


def test_everything_that_can_change_an_answer_changes_the_key() -> None:
    others: list[tuple[Evaluated, Configuration]] = [
        (EVALUATED, BASE),
        (replace(EVALUATED, model="other"), BASE),
        (replace(EVALUATED, precision="other"), BASE),
        (replace(EVALUATED, prompts="other"), BASE),
        (replace(EVALUATED, importance="other"), BASE),
        (replace(EVALUATED, processor={"crop": 64}), BASE),
        (EVALUATED, replace(BASE, visual=4)),
        (EVALUATED, replace(BASE, experts=None)),
        (EVALUATED, replace(BASE, blocks=(0, 2, 3))),  # as many blocks, other ones
    ]
    keys = {key(evaluated.document(configuration)) for evaluated, configuration in others}
    assert len(keys) == len(others)
    assert all(len(name) == 64 for name in keys)


def test_a_key_is_the_same_on_every_machine() -> None:
    shuffled = replace(EVALUATED, processor={"b": 1, "a": (1, 2)})
    assert key(shuffled.document(BASE)) == key(replace(shuffled, processor={"a": [1, 2], "b": 1}).document(BASE))


def test_blocks_are_chosen_by_importance() -> None:
    found = configurations([Point(2, None, 4), Point(2, None, 8)], scores=SCORES)
    assert [each.blocks for each in found] == [(0, 5, 6, 7), tuple(range(8))]
    assert [each.depth for each in found] == [4, 8]
    assert configurations([Point(2, 4, None)]) == (Configuration(visual=2, experts=4),)


def test_blocks_without_importance_are_refused() -> None:
    with pytest.raises(ConfigError, match="no importance"):
        configurations([Point(2, None, 4)])
    with pytest.raises(ConfigError, match="importance scores None"):
        replace(EVALUATED, importance=None).document(BASE)
    with pytest.raises(ConfigError, match="importance scores i1"):
        EVALUATED.document(replace(BASE, blocks=None))


@pytest.fixture
def sweep() -> Sweep:
    levels = KnobLevels(visual=(1, 2, 3, 4, 6), experts=(4, 8, 12), blocks=(4, 5, 6, 7, 8))
    chosen = configurations(points(levels, "balanced"), scores=SCORES)
    lists = {"visual": levels.visual, "experts": levels.experts, "blocks": levels.blocks}
    return Sweep.of(EVALUATED, chosen, lists=lists, strategy="balanced")


def test_a_sweep_is_read_as_it_was_written(sweep: Sweep, tmp_path: Path) -> None:
    write_sweep(tmp_path / "sweep.json", sweep)
    found = read_sweep(tmp_path / "sweep.json", fix=FIX)
    assert found == sweep
    assert found.keys == sweep.keys
    assert len(found.keys) == 27
    first = found.keys[0]
    assert key(found.document(first)) == first
    assert read_sealed(tmp_path / "sweep.json", SCHEMA, fix=FIX)["lists"]["experts"] == [4, 8, 12]


@pytest.mark.parametrize("change", ["key", "content", "lost", "unknown"])
def test_a_sweep_that_names_its_configurations_wrongly_is_refused(sweep: Sweep, tmp_path: Path, change: str) -> None:
    path = tmp_path / "sweep.json"
    write_sweep(path, sweep)
    body = read_sealed(path, SCHEMA, fix=FIX)
    first = body["keys"][0]
    if change == "key":
        body["keys"][0] = "0" * 64
    elif change == "content":
        body["configurations"][first]["visual"] = 12
    elif change == "lost":
        del body["keys"][0]
    else:
        body["configurations"][first]["crops"] = 12
    write_sealed(path, SCHEMA, body)
    with pytest.raises(DataError, match=r"sweep\.json"):
        read_sweep(path, fix=FIX)
