"""Every epoch shows every usable sample once, at S = ceil(N E / B) whole steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.errors import DataError, IdentityError
from trackyard.plan.plan import DOCUMENT
from trackyard.recipes.datacomp.training.lengths import Lengths
from trackyard.recipes.datacomp.training.samples import Draws, plan_samples


def lengths(tokens: list[int]) -> Lengths:
    found = np.array(tokens, dtype=np.int32)
    return Lengths(tokens=found, supervised=found // 2, left_out={"too_long": int((found == 0).sum())})


@given(
    tokens=st.lists(st.sampled_from([0, 40, 50]), min_size=1, max_size=40).filter(any),
    epochs=st.integers(1, 4),
    per_step=st.integers(1, 9),
    seed=st.integers(0, 5),
)
def test_each_epoch_is_a_permutation(tokens: list[int], epochs: int, per_step: int, seed: int) -> None:
    draws = Draws(lengths(tokens), per_step, seed)
    plan = plan_samples(draws, curated="c", epochs=epochs)
    usable = [number for number, count in enumerate(tokens) if count]
    shown = np.concatenate([draws.of_step(step) for step in range(plan.steps)]).tolist()
    assert plan.steps == -(-len(usable) * epochs // per_step)
    assert len(shown) == plan.steps * per_step
    for epoch in range(epochs):
        assert sorted(shown[epoch * len(usable) :][: len(usable)]) == usable
    assert plan.filled == len(shown) - epochs * len(usable) < per_step
    assert all(number in usable for number in shown)


@pytest.mark.parametrize(("samples", "epochs", "steps"), [(64, 1, 4), (10_000, 5, 3_125), (100_000, 3, 18_750)])
def test_the_presets_have_the_steps_of_the_spec(samples: int, epochs: int, steps: int) -> None:
    draws = Draws(lengths([40] * samples), 16, 42)
    assert plan_samples(draws, curated="c", epochs=epochs).steps == steps


def test_seeds_differ_and_a_seed_stays(tmp_path: Path) -> None:
    one, other = (plan_samples(Draws(lengths([40] * 20), 4, seed), curated="c", epochs=2) for seed in (1, 2))
    assert one.order != other.order
    assert one.fingerprint != other.fingerprint
    assert one == plan_samples(Draws(lengths([40] * 20), 4, 1), curated="c", epochs=2)
    folder = one.keep(tmp_path)
    assert one.keep(tmp_path) == folder
    (folder / DOCUMENT).write_text((folder / DOCUMENT).read_text().replace('"steps": 10', '"steps": 11'))
    with pytest.raises(IdentityError, match="is not the plan"):
        one.keep(tmp_path)


def test_nothing_usable_is_an_error_with_its_causes() -> None:
    with pytest.raises(DataError, match="too_long"):
        plan_samples(Draws(lengths([0, 0]), 4, 1), curated="c", epochs=1)
