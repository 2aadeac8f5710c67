from pathlib import Path
from typing import Any

import pytest
import yaml

from trackyard.acquire.mapping import ImportMapping, MediaField, read_mapping
from trackyard.errors import ConfigError

PLAIN = {"dataset": "own", "licence": "CC0-1.0", "task": "user_qa", "source": "a.jsonl", "question": "q", "answer": "a"}
EXAMPLES = Path(__file__).resolve().parents[2] / "examples/import"


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
