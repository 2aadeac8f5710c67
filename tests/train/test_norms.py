"""Norms of the gradient by component: the same under every ZeRO stage, before a step and inside of it."""

from __future__ import annotations

import math

import pytest

from tests.train.zero_ranks import MODES, results

NAMES = [f"{precision} ZeRO {stage}" for precision, stage in MODES]


@pytest.mark.parametrize("mode", NAMES)
def test_norms(mode: str) -> None:
    one, other = (rank[mode]["norms"] for rank in results())
    assert one == other, "the same on every rank"
    [before], [inside] = one["before"], one["inside"]
    assert before["whole"] == pytest.approx(math.hypot(before["a"], before["b"]))
    assert inside == pytest.approx({name: before[name] for name in ("a", "b")}, rel=1e-6)
    assert before["whole"] == pytest.approx(one["engine"], rel=1e-6), "what DeepSpeed or torch finds"


def test_all_stages_find_the_norms_of_whole_gradients() -> None:
    """Stage 0 has whole gradients on every rank; the others see the same up to what their weights' rounding does."""
    found = {mode: results()[0][mode]["norms"]["before"][0] for mode in NAMES}
    for mode in NAMES:
        assert found[mode] == pytest.approx(found["fp32 ZeRO 0"], rel=1e-5 if mode.startswith("fp32") else 0.03)
