"""metrics.json: what was written is read, whatever it is; what may not stand in it is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.errors import ConfigError, DataError
from trackyard.record.metric_names import FAMILIES
from trackyard.record.metrics_file import read_metrics, write_metrics

HEADS = [name for name, of in FAMILIES.items() if of.place != "name"]
WORDS = st.text("abcdefghijklmnopqrstuvwxyz_:-", min_size=1, max_size=5)
# Names of one depth cannot continue each other.
NAMES = st.tuples(st.sampled_from(HEADS), WORDS, WORDS).map("/".join)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)
METRICS = st.dictionaries(st.text(min_size=1, max_size=8), st.dictionaries(NAMES, NUMBERS, max_size=6), max_size=4)


@given(metrics=METRICS)
def test_what_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, metrics: dict[str, dict[str, float]]
) -> None:
    path = tmp_path_factory.mktemp("metrics") / "metrics.json"
    write_metrics(path, metrics)
    assert read_metrics(path) == metrics
    first = path.read_bytes()
    write_metrics(path, {label: dict(reversed(values.items())) for label, values in reversed(metrics.items())})
    assert path.read_bytes() == first, "the order in which they are given changes nothing"


def test_names_are_levels_that_dvc_joins(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    write_metrics(path, {"baseline-42": {"test/ppl": 3.5, "test/nll": 1.25, "train/steps": 60}})
    assert json.loads(path.read_text()) == {"baseline-42": {"test": {"nll": 1.25, "ppl": 3.5}, "train": {"steps": 60}}}
    assert path.read_text().endswith("\n")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), None, "1", True])
def test_what_is_no_finite_number_is_refused(tmp_path: Path, value: float) -> None:
    path = tmp_path / "metrics.json"
    write_metrics(path, {"a": {"test/ppl": 1.0}})
    with pytest.raises(DataError, match=r"test/ppl of b is"):
        write_metrics(path, {"a": {"test/ppl": 2.0}, "b": {"test/ppl": value}})
    assert read_metrics(path) == {"a": {"test/ppl": 1.0}}, "nothing is written then"


def test_names_of_no_family_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is of no family"):
        write_metrics(tmp_path / "metrics.json", {"a": {"accuracy": 1.0}})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("names", [("train/loss", "train/loss/sft"), ("train/loss/sft", "train/loss")])
def test_a_name_that_continues_another_is_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    with pytest.raises(ConfigError, match="a part of this name is the whole name of another"):
        write_metrics(tmp_path / "metrics.json", {"a": dict.fromkeys(names, 1.0)})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "not valid JSON"),
        ("[]", "mapping of names for every label"),
        ('{"steps": 20, "loss": {"first": 1.0}}', "mapping of names for every label"),
        ('{"a": {"test": {"ppl": NaN}}}', "test/ppl of a is nan"),
        ('{"a": {"test": {"ppl": "3"}}}', "test/ppl of a is '3'"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(text)
    with pytest.raises(DataError) as raised:
        read_metrics(path)
    assert told in raised.value.what
    assert str(path) in raised.value.what + raised.value.fix


def test_a_file_that_is_absent_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        read_metrics(tmp_path / "metrics.json")
