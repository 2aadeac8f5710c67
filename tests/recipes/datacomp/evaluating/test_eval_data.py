"""The stage that brings items: made ones, and those of repositories in the published layout, fetched over loopback."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.recipes.datacomp.evaluating.published import write_catalogue
from tests.recipes.datacomp.mini_parameters import changed
from trackyard.digest import digest_bytes
from trackyard.errors import ConfigError, DataError, EnvironmentLacking
from trackyard.feed.decode import decode_rgb
from trackyard.recipes.datacomp.evaluating.blink import COUNTS
from trackyard.recipes.datacomp.evaluating.eval_data import eval_data
from trackyard.recipes.datacomp.evaluating.items import eval_pictures, read_items
from trackyard.recipes.datacomp.evaluating.sets import SETS
from trackyard.recipes.datacomp.results import read_result
from trackyard.recipes.datacomp.study import Study

GOOD = 5
"""Pictures by address that are there; one of VSR's is gone."""


def study_at(root: Path, **changes: Any) -> Study:
    return Study(root=root, parameters=changed({f"evaluation.{name}": value for name, value in changes.items()}))


def run(study: Study) -> list[str]:
    said: list[str] = []
    eval_data(study, said.append)
    return said


def test_made_items_of_all_sets(tmp_path: Path) -> None:
    study = study_at(tmp_path, made_items=24)
    said = run(study)
    assert [line.split()[0] for line in said] == ["blink", "vsr", "spatial", "captions"]
    body = read_result(study.document("eval_data"), "eval_data").body
    assert {name: (found["items"], found["pictures"]) for name, found in body["sets"].items()} == dict.fromkeys(
        SETS, (24, 24)
    )
    assert len(dict(eval_pictures(study))) == 24
    first = {name: study.items(name).read_bytes() for name in SETS}
    run(study)
    assert first == {name: study.items(name).read_bytes() for name in SETS}


def test_published_items_in_their_full_number(cache_of: Path) -> None:
    study = study_at(cache_of, source="hub", sets=["blink", "spatial"])
    run(study)
    found = read_result(study.document("eval_data"), "eval_data")
    assert (found.body["sets"]["blink"]["items"], found.body["sets"]["spatial"]["items"]) == (1901, 1406)
    assert all(name.startswith("hub/") for name in found.header.inputs)
    items = list(read_items(study.items("blink")))
    assert Counter(item.task for item in items) == COUNTS
    assert {len(item.images) for item in items} == {1, 2, 3, 4}
    assert {len(item.options) for item in items} == {2, 3, 4}
    assert items[1].gold == "(B)"
    assert items[0].question.startswith("Which of 0?")
    spatial = list(read_items(study.items("spatial")))
    assert Counter(str(item.meta["type"]) for item in spatial) == {"qualitative": 657, "quantitative": 749}
    assert spatial[0].gold == "Yes, Region [0] is to the left of Region [1]."
    # Both branches are shown the drawn picture; the published one is kept beside it.
    drawn, plain = (decode_rgb(of[0], "p") for of in (spatial[0].images, spatial[0].undrawn))
    assert drawn.shape == plain.shape
    assert (drawn != plain).any()
    assert dict(eval_pictures(study))[spatial[0].pictures[0]] == spatial[0].images[0]
    assert digest_bytes(spatial[0].images[0]) == spatial[0].pictures[0]


def test_pictures_that_are_gone_stop_or_are_named(cache_of: Path) -> None:
    with pytest.raises(DataError, match=r"467 of 2,811 items of vsr lack their picture(.|\n)*retry-failed"):
        run(study_at(cache_of, source="hub", sets=["vsr"]))
    study = study_at(cache_of, source="hub", sets=["vsr", "captions"], most_missing=0.2)
    said = run(study)
    body = read_result(study.document("eval_data"), "eval_data").body["sets"]
    assert body["vsr"]["items"] == 2811 - 467
    assert len(body["vsr"]["missing"]) == 467
    assert set(body["vsr"]["missing"].values()) == {"http_404"}
    assert "467 pictures are gone" in said[0]
    items = list(read_items(study.items("vsr")))
    assert Counter(item.task for item in items).keys() == {"random", "zeroshot"}
    assert items[0].question.endswith("The cat is left of the dog.")
    assert (items[0].gold, items[0].options) == ("False", ("True", "False"))


def test_captions_are_true_statements_against_their_opposite(cache_of: Path) -> None:
    study = study_at(cache_of, source="hub", sets=["captions"], most_missing=0.2)
    run(study)
    items = list(read_items(study.items("captions")))
    assert {item.task for item in items} == {"left_of", "behind", "facing"}
    assert items[0].options == ("The cat is left of the dog.", "The cat is right of the dog.")
    assert all(item.gold == item.options[0] for item in items)


def test_a_limit_draws_from_all_tasks(cache_of: Path) -> None:
    study = study_at(cache_of, source="hub", sets=["blink"], limit=200)
    run(study)
    items = list(read_items(study.items("blink")))
    assert len(items) == 200
    assert len({item.task for item in items}) == 14


def test_what_was_not_fetched_or_not_pinned_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    study = study_at(tmp_path, source="hub", sets=["blink"])
    write_catalogue(tmp_path / "catalog", {"blink": "ab" * 20})
    with pytest.raises(EnvironmentLacking, match="trackyard data fetch blink"):
        run(study)
    write_catalogue(tmp_path / "catalog", {"blink": "unpinned"})
    with pytest.raises(ConfigError, match="no pinned revision"):
        run(study)


def test_a_gold_answer_that_no_rule_reads_stops(tmp_path: Path) -> None:
    from trackyard.recipes.datacomp.evaluating.items import write_items
    from trackyard.recipes.datacomp.evaluating.made_items import made_items

    items = list(made_items("spatial", seed=0, count=4))
    object.__setattr__(items[1], "gold", json.dumps("far"))
    with pytest.raises(DataError, match=r"spatial-00001.*not read by the rule for distance_data"):
        write_items(tmp_path / "spatial" / "items.parquet", iter(items), refuse=SETS["spatial"].problem)
