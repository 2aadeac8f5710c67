"""Memory of the constraint against pile-ffn spec section 6; entries are compared with models in test_architectures."""

from __future__ import annotations

import pytest

from trackyard.recipes.pile_ffn.cells import Arm
from trackyard.recipes.pile_ffn.cost.constrained_memory import live_bytes
from trackyard.recipes.pile_ffn.cost.sizes import SIZES
from trackyard.train.parameters import EngineParameters, Recompute

SIZE = SIZES["pythia-1.4b"]


def live(arm: str, how: Recompute) -> int:
    return live_bytes(SIZE, Arm.named(arm), EngineParameters(activation_checkpointing=how))


def test_effective_weights_of_the_default_arm() -> None:
    """3.22 GB in fp32 and 1.61 GB in bf16 without checkpointing; those of one layer with it."""
    assert live("nonneg_mlp_both", "none") == pytest.approx(3.22e9 + 1.61e9, rel=2e-3)
    assert (
        live("nonneg_mlp_both", "full") * 24 == live("nonneg_mlp_both", "none") == live("nonneg_mlp_both", "selective")
    )


def test_signs_are_held_all_the_time() -> None:
    signs = 805_306_368
    for how in ("none", "full"):
        assert live("signfrozen_mlp_both", how) == live("nonneg_mlp_both", how) + signs


@pytest.mark.parametrize("arm", ["baseline", "absinit_mlp_both", "degraded_mlp_both", "untouched"])
def test_an_unconstrained_arm_holds_nothing_more(arm: str) -> None:
    assert live(arm, "none") == 0
