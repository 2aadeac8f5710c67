from __future__ import annotations

from typing import Any

import pytest

from trackyard.evaluate.latency.statistics import part_ms
from trackyard.evaluate.latency.timing import Timing


def _timing(**changed: Any) -> Timing:
    facts = {"t_pre_ms": 9.0, "t_vision_ms": 20.0, "t_prefill_ms": 30.0, "t_decode_ms": 50.0, "t_total_ms": 100.0}
    return Timing(**{**facts, "n_visual": 2, "n_prompt": 5, "tokens": (3, 4, 5), **changed})


def test_the_fields_of_a_line_are_those_of_the_specification() -> None:
    assert _timing().to_json() == {
        "t_pre_ms": 9.0,
        "t_vision_ms": 20.0,
        "t_prefill_ms": 30.0,
        "t_decode_ms": 50.0,
        "t_total_ms": 100.0,
        "n_visual": 2,
        "n_prompt": 5,
        "n_out": 3,
        "valid": True,
    }


@pytest.mark.parametrize(
    ("parts", "total", "valid"),
    [(100.0, 102.04, True), (100.0, 102.05, False), (100.0, 98.04, True), (100.0, 98.03, False),
     (10.0, 11.0, True), (10.0, 11.01, False), (10.0, 9.0, True), (10.0, 8.99, False)],
)  # fmt: skip
def test_parts_may_differ_from_the_whole_by_a_millisecond_or_two_percent(
    parts: float, total: float, valid: bool
) -> None:
    assert _timing(t_vision_ms=0.0, t_prefill_ms=parts, t_decode_ms=0.0, t_total_ms=total).valid is valid


def test_host_work_is_no_part_of_the_whole_and_steps_are_one_less_than_tokens() -> None:
    assert _timing(t_pre_ms=1e4).valid
    assert _timing().t_first_ms == 50.0
    assert part_ms(_timing().to_json(), "step") == 25.0
    assert part_ms(_timing(tokens=(3,), t_decode_ms=0.0).to_json(), "step") is None
