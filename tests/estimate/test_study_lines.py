"""Hours and bytes in words, and columns side by side."""

from __future__ import annotations

import pytest

from trackyard.estimate.study_lines import amount, table, took


@pytest.mark.parametrize(
    ("hours", "words"), [(0.001, "4 s"), (0.5, "30.0 min"), (15.625, "15.6 h"), (400.0, "16.7 days")]
)
def test_hours(hours: float, words: str) -> None:
    assert took(hours) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (110_223_372, "110.22 MB"), (13_107_200_000, "13.11 GB"), (2_600_000_000_000, "2.60 TB")],
)
def test_bytes(count: int, words: str) -> None:
    assert amount(count) == words


def test_numbers_end_together_and_words_begin_together() -> None:
    assert table([("stage", "jobs", "after"), ("x", "12", "stage")]) == ["stage  jobs  after", "x        12  stage"]
