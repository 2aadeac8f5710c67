"""Every word that can be drawn has room."""

from __future__ import annotations

from trackyard.acquire.mini.documents import FIELDS, LINE, WORDS
from trackyard.acquire.mini.drawing import word_width


def test_keys_end_before_values_and_values_before_the_edge() -> None:
    assert max(word_width(key, size=LINE) for key in FIELDS) + 3 <= 58 - 8
    assert max(word_width(value, size=LINE) for values in FIELDS.values() for value in values) + 59 <= 112


def test_signs_have_room_for_every_word() -> None:
    assert max(word_width(word, size=22) for word in WORDS) <= 62
