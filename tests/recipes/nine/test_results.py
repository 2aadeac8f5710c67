"""Results say where they come from; altered ones, those of other stages, and numbers that are none are refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from trackyard.errors import DataError
from trackyard.recipes.nine.results import PIPELINE, Header, read_result, write_result
from trackyard.sealed import write_sealed

HEADER = Header(
    spec_digest="s", git_commit="c", image_digest="none", libs={"torch": "2"}, model=None, inputs={}, device="cpu",
    wall_s=1.5,
)  # fmt: skip


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_result(path, "accuracy", HEADER, {"answers": 3})
    found = read_result(path, "accuracy")
    assert (found.header, found.body) == (HEADER, {"answers": 3})


def test_another_stage_an_altered_one_or_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    with pytest.raises(DataError):
        read_result(path, "accuracy")
    write_result(path, "accuracy", HEADER, {"answers": 3})
    with pytest.raises(DataError) as refused:
        read_result(path, "latency")
    assert f"dvc repro {PIPELINE}:latency" in refused.value.fix
    body = json.loads(path.read_text())
    body["body"]["answers"] = 4
    path.write_text(json.dumps(body))
    with pytest.raises(DataError, match="was altered"):
        read_result(path, "accuracy")


def test_a_header_that_lacks_a_part_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_sealed(path, "trackyard-nine-accuracy/1", {"header": {"device": "cpu"}, "body": {}})
    with pytest.raises(DataError, match="lacks or misstates a part of its header"):
        read_result(path, "accuracy")


def test_numbers_that_are_none_are_no_results(tmp_path: Path) -> None:
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"(?i)finite|json|nan|inf"):
            write_result(tmp_path / "a.json", "accuracy", replace(HEADER, wall_s=value), {})
    assert not (tmp_path / "a.json").exists()
