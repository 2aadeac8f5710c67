from pathlib import Path
from typing import Any

import pytest
import yaml

from trackyard.acquire.importing.mapping import ImportMapping, read_mapping
from trackyard.acquire.importing.mapping_fields import Keep, MediaField
from trackyard.errors import ConfigError

PLAIN = {"dataset": "own", "licence": "CC0-1.0", "task": "user_qa", "source": "a.jsonl", "question": "q", "answer": "a"}
EXAMPLES = Path(__file__).resolve().parents[3] / "examples/import"


def read(folder: Path, **changes: Any) -> ImportMapping:
    values = {key: value for key, value in (PLAIN | changes).items() if value is not None}
    (folder / "own.yaml").write_text(yaml.safe_dump(values))
    return read_mapping(folder / "own.yaml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"anwser": "a"}, "did you mean 'answer'"),
        ({"licence": None}, "'licence' is missing"),
        ({"source": None}, "exactly one of source and sidecar"),
        ({"sidecar": "b.jsonl"}, "exactly one of source and sidecar"),
        ({"source": "a.csv"}, "known are .jsonl, .parquet, .txt"),
        ({"source": "a.txt"}, "document_characters"),
        ({"document_characters": 100}, "document_characters"),
        ({"answer": None}, "exactly one of answer"),
        ({"captions": "c"}, "exactly one of answer"),
        ({"answer": None, "captions": "c"}, "neither a question nor options"),
        ({"prompt": "p"}, "both given"),
        ({"question": None}, "question field or a prompt"),
        ({"answer": None, "answer_letter": "a"}, "needs options"),
        ({"split_field": "s", "validation_fraction": 0.1}, "both given"),
        ({"validation_fraction": 1}, "less than 1"),
        ({"split_field": "s", "split_values": {"dev": "test"}}, "'train' or 'validation'"),
        ({"media": [{"field": "i_{n}", "kind": "image"}]}, "go together"),
        ({"media": [{"field": "i", "kind": "image", "mark": "<{n}>"}]}, "needs {n} once"),
        ({"media": [{"field": "i", "kind": "audio"}]}, "'image' or 'video'"),
        ({"dataset": "../own"}, "dataset"),
    ],
    ids=str,
)
def test_mappings_that_contradict_themselves(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    read(tmp_path)  # negative control: without the change the mapping is right
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, **changes)
    assert message in caught.value.what
    assert "own.yaml" in caught.value.what


def test_splits_and_fields(tmp_path: Path) -> None:
    assert read(tmp_path).splits == ("train",)
    assert read(tmp_path, validation_fraction=0.5).splits == ("train", "validation")
    assert read(tmp_path, split_field="s", split_values={"dev": "validation"}).splits == ("validation",)
    media = [{"field": "image_{n}", "kind": "image", "numbers": 2}]
    assert read(tmp_path, media=media, split_field="s").fields == {"q", "a", "s", "image_1", "image_2"}
    assert MediaField(field="clip", kind="video").names() == {0: "clip"}


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_examples_are_mappings(path: Path) -> None:
    mapping = read_mapping(path)
    assert mapping.dataset == path.stem
    assert mapping.sidecar is None or (path.parent / mapping.sidecar).is_file()


MAPPINGS = Path(__file__).resolve().parents[3] / "catalog/mappings"
STAGE_1 = {"pixmo-cap", "pixmo-points", "pixmo-count", "cosyn-point", "tulu"}


@pytest.mark.parametrize("path", sorted(MAPPINGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_mappings_of_the_catalogue(path: Path) -> None:
    mapping = read_mapping(path)
    assert mapping.dataset == path.stem
    assert "olmo/data" in path.read_text() or "card" in path.read_text() or "spec" in path.read_text()  # a source
    assert mapping.required <= mapping.fields


def test_stage_1_is_complete() -> None:
    assert {path.stem for path in MAPPINGS.glob("*.yaml")} >= STAGE_1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": ["a.jsonl", "b.parquet"]}, "'.jsonl' and '.parquet'"),
        ({"source": {"train": "a.jsonl"}, "validation_fraction": 0.1}, "both given"),
        ({"source": {"dev": "a.jsonl"}}, "'train' or 'validation'"),
        ({"source": {}}, "the suffix is missing"),
        ({"answer": None, "answer_index": "a"}, "needs options"),
        ({"question": None, "answer": None, "points": {"field": "p", "unit": "percent"}}, "or a label"),
        ({"label": "l"}, "needs points"),
        ({"points": {"field": "p", "unit": "inch"}}, "'percent', 'pixel' or 'fraction'"),
        ({"answer": None, "messages": "m"}, "neither a question nor options"),
        ({"first_answer": True, "options": "o"}, "first_answer needs"),
        ({"question_marks": {"user": "U", "assistant": "A"}, "options": "o"}, "question_marks need"),
        ({"media": [{"field": "v", "kind": "video", "from": "url"}]}, "not fetched by address"),
        ({"group_by": "url"}, "group_by needs one medium"),
        ({"keep": [{"field": "f", "reason": "r"}]}, "exactly one of present"),
        ({"keep": [{"field": "f", "reason": "r", "present": True, "at_most": 1}]}, "exactly one of present"),
    ],
    ids=str,
)
def test_larger_mappings_that_contradict_themselves(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, **changes)
    assert message in caught.value.what


def test_sources_by_split(tmp_path: Path) -> None:
    mapping = read(tmp_path, source={"validation": "v.jsonl", "train": ["a.jsonl", "b.jsonl"]})
    assert mapping.patterns() == (("train", "a.jsonl"), ("train", "b.jsonl"), ("validation", "v.jsonl"))
    assert mapping.splits == ("train", "validation")


@pytest.mark.parametrize(
    ("rule", "value", "wanted"),
    [
        ({"present": True}, 0, True),
        ({"present": True}, None, False),
        ({"any_of": ["a"]}, "a", True),
        ({"any_of": [1]}, True, False),
        ({"none_of": [True]}, True, False),
        ({"none_of": [True]}, False, True),
        ({"at_most": 4096}, 4096, True),
        ({"at_most": 4096}, 4097, False),
        ({"at_most": 4096}, None, False),
    ],
)
def test_what_is_kept(rule: dict[str, Any], value: Any, wanted: bool) -> None:
    assert Keep(field="f", reason="r", **rule).wants(value) is wanted
