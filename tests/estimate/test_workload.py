"""Workloads refuse a spread that does not divide, as training does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.estimate.world import molmo2
from trackyard.errors import ConfigError
from trackyard.estimate.workload import Lengths

WORK = molmo2("stage2", "h200")


@pytest.mark.parametrize(
    ("world", "engine", "told"),
    [
        (8, {"micro_batch": 3}, "packs_per_step=128 is not a multiple"),
        (12, {"context_degree": 1}, "packs_per_step=128 is not a multiple"),
        (8, {"context_degree": 3}, "not whole groups of context_degree=3"),
        (96, {"context_degree": 3}, "32 attention heads do not divide over 3 ranks"),
    ],
)
def test_what_does_not_divide_is_refused(world: int, engine: dict[str, int], told: str) -> None:
    with pytest.raises(ConfigError) as raised:
        WORK.changed(world=world, **engine)
    assert told in raised.value.what


@given(st.sampled_from([1, 2, 4, 8, 16]), st.sampled_from([1, 2, 4]), st.sampled_from([1, 2, 4, 8]))
def test_every_spread_computes_the_same_packs(world: int, micro_batch: int, degree: int) -> None:
    try:
        work = WORK.changed(world=world, micro_batch=micro_batch, context_degree=degree)
    except ConfigError:
        assert world % degree
        return
    assert work.micro_batches * work.engine.micro_batch * work.data_ranks == work.packs_per_step == 128


def test_means_of_a_plan() -> None:
    totals = {"steps": 4, "tokens": 400, "visual_tokens": 200, "inputs": 40, "label_tokens": 80, "rows": 8}
    found = Lengths.of_totals(totals, source="plan x")
    assert (found.tokens, found.visual, found.inputs, found.labels, found.rows) == (100, 50, 10, 20, 2)
