"""What each stage needs is read from its dvc.yaml, by the command that runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from trackyard.errors import ConfigError
from trackyard.launch.stage_needs import IN_IMAGE, StageNeed, need_of, stage_meta

ROOT = Path(__file__).resolve().parents[2]
FILES = ["dvc.yaml", *(f"pipelines/{track}/dvc.yaml" for track in ("pile_ffn", "datacomp", "nine"))]


def declared() -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (file, name, stage)
        for file in FILES
        for name, stage in yaml.safe_load((ROOT / file).read_text())["stages"].items()
    ]


@pytest.mark.parametrize(
    ("file", "name", "stage"), declared(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_stage_is_found_by_its_command(file: str, name: str, stage: dict[str, Any]) -> None:
    track, of = stage["cmd"].split()[2:4]
    item = "one-1" if "matrix" in stage else None
    found = need_of(ROOT, track, of, item)
    address = name if file == "dvc.yaml" else f"{file}:{name}"
    assert found.address == (f"{address}@one-1" if item else address)
    assert {"needs": found.needs} | ({"divided": True} if found.divided else {}) == stage["meta"]


def test_which_stages_have_which_need() -> None:
    """Those that train, those that ask a model, those that reach the hub or the web; the rest has neither."""
    found: dict[str, set[str]] = {}
    for _, name, stage in declared():
        track = stage["cmd"].split()[2]
        found.setdefault(stage["meta"]["needs"], set()).add(f"{track} {name}")
    assert found["train"] == {
        "molmo2 stage1", "molmo2 stage2", "molmo2 stage3", "pile_ffn untouched", "pile_ffn train", "datacomp train",
    }  # fmt: skip
    assert found["gpu"] == {
        "pile_ffn degrade", "pile_ffn evaluate", "pile_ffn attack", "pile_ffn transfer", "datacomp latents",
        "datacomp eval_latents", "datacomp evaluate", "nine importance", "nine sweep", "nine accuracy", "nine latency",
    }  # fmt: skip
    assert found["network"] == {"pile_ffn fetch", "datacomp download", "datacomp models"}
    divided = {f"{stage['cmd'].split()[2]} {name}" for _, name, stage in declared() if stage["meta"].get("divided")}
    assert divided == {
        "datacomp download", "datacomp latents", "datacomp eval_latents", "pile_ffn tokenize", "nine accuracy",
        "nine latency",
    }  # fmt: skip
    assert {"train", "gpu"} == IN_IMAGE


def test_an_item_names_a_cell_and_a_part_names_none() -> None:
    file = "pipelines/pile_ffn/dvc.yaml"
    assert need_of(ROOT, "pile_ffn", "train", "baseline-42") == StageNeed(
        address=f"{file}:train@baseline-42", needs="train", divided=False
    )
    assert need_of(ROOT, "nine", "accuracy", "1/3").address == "pipelines/nine/dvc.yaml:accuracy"


@pytest.mark.parametrize(
    ("track", "stage", "item"),
    [("molmo2", "stage4", None), ("pile_ffn", "train", None), ("nowhere", "train", None), ("all", "stage1", None)],
)
def test_what_no_dvc_yaml_calls_so_is_refused(track: str, stage: str, item: str | None) -> None:
    with pytest.raises(ConfigError, match=f"runs `trackyard run {track} {stage}`") as refused:
        need_of(ROOT, track, stage, item)
    assert "dvc stage list --all" in refused.value.fix


@pytest.mark.parametrize(
    ("meta", "told"),
    [
        (None, "meta.needs: Field required"),
        ({"needs": "tpu"}, "meta.needs: Input should be"),
        ({"needs": "cpu", "need": 1}, "meta.need: Extra inputs"),
        ("cpu", "Input should be a valid dictionary"),
    ],
)
def test_a_stage_that_says_no_need_is_refused(meta: object, told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        stage_meta(meta, "pipelines/nine/dvc.yaml:data")
    assert told in refused.value.what
    assert refused.value.fix.endswith("in pipelines/nine/dvc.yaml")
    assert stage_meta({"needs": "gpu", "divided": True}, "stage1").divided
