"""The whole check: the shipped catalogue passes, and every kind of damage to it is a named problem."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from trackyard.catalog.check import check_catalogue
from trackyard.errors import ConfigError

CATALOGUE = Path(__file__).resolve().parents[2] / "catalog"

Edit = Callable[[dict[str, Any]], None]


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    shutil.copytree(CATALOGUE, tmp_path / "catalog")
    return tmp_path / "catalog"


def edit(directory: Path, file: str, change: Edit) -> None:
    path = directory / file
    values = yaml.safe_load(path.read_text())
    change(values)
    path.write_text(yaml.safe_dump(values, sort_keys=False))


def entry(values: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(item for item in values["datasets"] if item["name"] == name)
    return found


def set_in(name: str, **changed: Any) -> Edit:
    return lambda values: entry(values, name).update(changed)


def drop(name: str) -> Edit:
    return lambda values: values["datasets"].remove(entry(values, name))


def test_the_shipped_catalogue() -> None:
    report = check_catalogue(CATALOGUE)
    assert report.problems == ()
    assert report.ok
    assert report.entries >= 181
    assert report.files == len(list(CATALOGUE.glob("*.yaml")))
    assert report.unresolved == ()
    assert report.resolved >= 90
    assert report.access == {"auto": 46, "mixed": 36, "manual": 14, "url": 7, "none": 1}
    assert (report.rate_percent, report.rate_percent_with_hardcodes) == (99.96, 100.01)
    assert report.selections["stage1"] == 5
    assert report.selections["stage2"] == report.selections["stage3"] == 105
    assert report.selections["nine"] == 9
    assert report.pinned >= 1
    assert report.contradictions


def test_a_report_becomes_json() -> None:
    document = json.loads(json.dumps(dataclasses.asdict(check_catalogue(CATALOGUE))))
    assert document["nine"]["samples"] == 300_725
    assert document["founding"]["stage2_bytes"] == 740 * 10**9


@pytest.mark.parametrize(
    ("file", "change", "told"),
    [
        ("image-qa.yaml", drop("docvqa"), "sft:image_qa has 31 datasets"),
        ("image-qa.yaml", drop("docvqa"), "001: docvqa -> docvqa"),
        ("extra.yaml", drop("gqa"), "founding sizes of stage 2: 715,000,000,000, the reference 740,000,000,000"),
        ("captions.yaml", set_in("pixmo-capqa", aliases=[]), "001: pixmo-cap-qa -> pixmo-capqa"),
        ("image-qa.yaml", set_in("ok-vqa", aliases=[]), "001: okvqa -> ok-vqa"),
        ("captions.yaml", set_in("pixmo-cap", expected={"examples": [1, "stated", "x"]}), "449,001 examples"),
        ("text.yaml", set_in("tulu", access="mixed"), "ways of access"),
        ("text.yaml", set_in("tulu", mixture={"rate_percent": 9.0}), "rates add up to 99.86 and 99.91"),
        ("text.yaml", set_in("tulu", aliases=["tulu-v2-sft-mixture", "nine"]), "tulu is called nine, which is a sel"),
        ("text.yaml", set_in("tulu", hub=[]), "tulu comes by itself, but from nowhere"),
        ("text.yaml", set_in("tulu", group="sft:other"), "sft:other has 1 datasets"),
        ("nine.yaml", drop("st_qa"), "samples of the nine datasets: 299,701, the reference 300,725"),
        ("nine.yaml", set_in("coco_caption", needs=[]), "coco_caption reads downloads/val2014, which none"),
        ("nine.yaml", set_in("okvqa", expected={}), "okvqa has a cache of 10000000 bytes, stated as None"),
        (
            "nine.yaml",
            lambda values: entry(values, "doc_qa")["nine"].update(cache_bytes=1),
            "caches of the nine datasets: 4,474,000,001",
        ),
        ("nine.yaml", set_in("coco-test2015", founding={}), "does not copy: 355,000,000,000, the reference 408"),
        ("names/founding.yaml", lambda values: values["documents"]["003"]["names"].update(new="blink"), "003: new ->"),
        ("names/founding.yaml", lambda values: values.update(documents={}), "nothing was proved about the names"),
    ],
)
def test_damage_is_a_problem(copied: Path, file: str, change: Edit, told: str) -> None:
    edit(copied, file, change)
    report = check_catalogue(copied)
    assert not report.ok
    assert [problem for problem in report.problems if told in problem], report.problems


@pytest.mark.parametrize(
    ("file", "change", "told"),
    [
        ("captions.yaml", lambda values: entry(values, "molmo2-cap").pop("manual"), "access by hand without steps"),
        ("pile.yaml", set_in("pile-uncopyrighted", hub=[{"repo": "a/b", "revision": "main"}]), "branches move"),
        ("nine.yaml", drop("coco-val2014"), "needs coco-val2014, which no file"),
        ("image-qa.yaml", set_in("tallyqa", needs=["coco-val2013"]), "tallyqa needs coco-val2013"),
        ("text.yaml", set_in("tulu", aliases=["pixmo-cap"]), "'pixmo-cap'"),
        ("names/reference.yaml", lambda values: values.update(grops=[]), "did you mean 'groups'"),
    ],
)
def test_what_cannot_be_read_stops(copied: Path, file: str, change: Edit, told: str) -> None:
    edit(copied, file, change)
    with pytest.raises(ConfigError, match=told):
        check_catalogue(copied)


def test_nothing_to_examine_is_an_error(copied: Path) -> None:
    for path in copied.glob("*.yaml"):
        path.unlink()
    with pytest.raises(ConfigError, match="no catalogue entry"):
        check_catalogue(copied)
