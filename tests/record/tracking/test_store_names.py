"""Names and texts that MLflow takes, and that stay different where they were."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackyard.record.tracking.store_names import plain_text, store_key, store_texts, tag_filter


@pytest.mark.parametrize("name", ["loss", "eval/ai2d/accuracy", "a b", "a.b-c_d:e", "loss/PixMo-Cap"])
def test_good_names_stay(name: str) -> None:
    assert store_key(name) == name


@settings(deadline=None)
@given(name=st.text(max_size=300) | st.from_regex(r"[a-z/. ]{1,12}", fullmatch=True))
def test_every_name_becomes_one_that_mlflow_takes(name: str) -> None:
    from mlflow.utils.validation import MAX_ENTITY_KEY_LENGTH, _validate_metric_name

    key = store_key(name)
    _validate_metric_name(key)
    assert 0 < len(key) <= MAX_ENTITY_KEY_LENGTH
    assert store_key(key) == key


@settings(deadline=None)
@given(names=st.sets(st.text(max_size=6) | st.from_regex(r"[ab/.@]{1,4}", fullmatch=True), max_size=30))
def test_different_names_stay_different(names: set[str]) -> None:
    assert len({store_key(name) for name in names}) == len(names)


def test_a_text_that_is_too_long_is_named_by_its_digest() -> None:
    kept = store_texts({"short": "x", "long": "y" * 11}, 10)
    assert kept["short"] == "x"
    assert kept["long"].startswith("11 characters, blake3 ")


@given(value=st.text(max_size=20))
def test_a_search_text_cannot_end_before_its_end(value: str) -> None:
    assert tag_filter({"a.b": value}) == f"tags.`a.b` = '{plain_text(value)}'"
    assert "'" not in plain_text(value)
    assert plain_text(plain_text(value)) == plain_text(value)
