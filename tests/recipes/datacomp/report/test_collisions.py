"""Which predictions must be equal, which may not, and which are too few to tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.recipes.datacomp.mini_parameters import changed
from trackyard.recipes.datacomp.cells import BASE, NO_WORLD
from trackyard.recipes.datacomp.report.collisions import LEAST_ITEMS, Collision, refuse_collisions


class Found:
    """A result, as far as it is looked at."""

    def __init__(self, digest: str, n: int) -> None:
        self.body = {"predictions_digest": digest, "n": n}


def digests(n: int = LEAST_ITEMS, **other: str) -> Mapping[str, Mapping[str, Any]]:
    """As they should be, at one seed."""
    arms = ["world", "random_projection", "zero_latents", "shuffled_latents", "soft_prompt"]
    right = {BASE: "base", f"{NO_WORLD}-42": "base"} | {f"{arm}-42": arm for arm in arms}
    return {"vsr": {label: Found(other.get(label.partition("-")[0], digest), n) for label, digest in right.items()}}


def parameters(**changes: Any) -> Any:
    return changed({"seeds": [42]} | {name.replace("__", "."): to for name, to in changes.items()})


def test_the_branch_that_is_off_equals_the_base_and_nothing_else_is_equal() -> None:
    found = refuse_collisions(parameters(), digests())
    assert found.equal == (("vsr", BASE, f"{NO_WORLD}-42"),)
    assert (found.compared, found.too_small) == (7 * 6 // 2 - 1, ())


@pytest.mark.parametrize("arm", ["world", "zero_latents", "shuffled_latents", "soft_prompt", "random_projection"])
def test_any_other_equal_pair_is_an_error(arm: str) -> None:
    with pytest.raises(Collision, match="have the same answers"):
        refuse_collisions(parameters(), digests(**{arm: "base"}))
    if arm != "world":
        with pytest.raises(Collision, match=f"{arm}-42"):
            refuse_collisions(parameters(), digests(**{arm: "world"}))


def test_a_branch_that_is_off_and_differs_is_an_error_while_gemma_is_frozen() -> None:
    with pytest.raises(Collision, match=f"{BASE} and {NO_WORLD}-42 differ on vsr"):
        refuse_collisions(parameters(), digests(no_world_tokens="other"))
    thawed = parameters(training__thawed_rates={"gemma_language": 1e-5}, training__expected_trainable=10)
    assert refuse_collisions(thawed, digests(no_world_tokens="other")).equal == ()
    with pytest.raises(Collision, match="have the same answers"):
        refuse_collisions(thawed, digests())


def test_a_closed_gate_is_the_base_model() -> None:
    adds = parameters(world__fusion="add", world__mode="pooled4")
    assert len(refuse_collisions(adds, digests(random_projection="base")).equal) == 3
    with pytest.raises(Collision, match="differ"):
        refuse_collisions(adds, digests())


def test_too_few_items_prove_nothing_and_are_named() -> None:
    found = refuse_collisions(parameters(), digests(LEAST_ITEMS - 1, zero_latents="world"))
    assert (found.compared, found.too_small) == (0, ("vsr",))
    assert len(found.equal) == 1
