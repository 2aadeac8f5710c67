"""Parameters and matrices of every row of pile-ffn spec section 2, counted on models without weights."""

from __future__ import annotations

import pytest

from trackyard.models.nonneg_variants import expected_matrices, matching
from trackyard.recipes.pile_ffn.cost.architectures import count, skeleton
from trackyard.recipes.pile_ffn.cost.constrained_memory import entries as constrained_entries
from trackyard.recipes.pile_ffn.cost.sizes import SIZES

ROWS = {
    "pythia-70m": (70_426_624, 12_598_272, 17.89),
    "pythia-160m": (162_322_944, 56_669_184, 34.91),
    "pythia-410m": (405_334_016, 201_449_472, 49.70),
    "pythia-1b": (1_011_781_632, 537_034_752, 53.08),
    "pythia-1.4b": (1_414_647_808, 805_552_128, 56.94),
    "pythia-2.8b": (2_775_208_960, 1_678_131_200, 60.47),
    "pythia-6.9b": (6_857_302_016, 4_295_622_656, 62.64),
    "pythia-12b": (11_846_072_320, 7_550_668_800, 63.74),
    "llama-3.2-1b": (1_235_814_400, 805_306_368, 65.16),
    "llama-3.2-3b": (3_212_749_824, 2_113_929_216, 65.80),
    "llama-3.1-8b": (8_030_261_248, 5_637_144_576, 70.20),
    "qwen2.5-0.5b": (494_032_768, 313_786_368, 63.52),
    "qwen2.5-1.5b": (1_543_714_304, 1_156_055_040, 74.89),
    "qwen2.5-3b": (3_085_938_688, 2_434_793_472, 78.90),
    "qwen2.5-7b": (7_615_616_512, 5_703_204_864, 74.89),
    "qwen2.5-14b": (14_770_033_664, 10_192_158_720, 69.01),
}
"""P, feed-forward parameters, and their share in percent: section 2, and sizes of the same families."""
MATRICES = {
    "pythia-70m": {"mlp_in": (6, None), "mlp_both": (12, 12_582_912), "mlp_in_attn_out": (12, None)},
    "pythia-160m": {"mlp_in": (12, 28_311_552), "mlp_both": (24, 56_623_104)},
    "pythia-410m": {"mlp_in": (24, None), "mlp_both": (48, 201_326_592), "mlp_in_attn_out": (48, None)},
    "pythia-1b": {"mlp_in": (16, None), "mlp_both": (32, 536_870_912), "mlp_in_attn_out": (32, None)},
    "pythia-1.4b": {
        "mlp_in": (24, 402_653_184), "mlp_both": (48, 805_306_368), "mlp_in_attn_out": (48, 503_316_480)
    },
    "pythia-2.8b": {"mlp_in": (32, None), "mlp_both": (64, 1_677_721_600), "mlp_in_attn_out": (64, None)},
    "pythia-6.9b": {"mlp_in": (32, None), "mlp_both": (64, 4_294_967_296), "mlp_in_attn_out": (64, None)},
    "pythia-12b": {"mlp_in": (36, None), "mlp_both": (72, 7_549_747_200), "mlp_in_attn_out": (72, None)},
    "llama-3.2-1b": {"gated_updown": (32, 536_870_912), "gated_all": (48, 805_306_368)},
    "llama-3.2-3b": {"gated_updown": (56, None), "gated_all": (84, None)},
    "llama-3.1-8b": {"gated_updown": (64, None), "gated_all": (96, None)},
    "qwen2.5-0.5b": {"gated_updown": (48, None), "gated_all": (72, 313_786_368)},
    "qwen2.5-1.5b": {"gated_updown": (56, None), "gated_all": (84, None)},
    "qwen2.5-3b": {"gated_updown": (72, None), "gated_all": (108, 2_434_793_472)},
    "qwen2.5-7b": {"gated_updown": (56, None), "gated_all": (84, None)},
    "qwen2.5-14b": {"gated_updown": (96, None), "gated_all": (144, 10_192_158_720)},
}  # fmt: skip
"""Matrices and, where the specification tells them, entries of each variant."""


@pytest.mark.parametrize("name", ROWS)
def test_a_row_of_the_table(name: str) -> None:
    model = skeleton(name)
    found = count(model)
    total, ffn, percent = ROWS[name]
    assert (found.total, found.ffn) == (total, ffn)
    assert round(100 * found.ffn_share, 2) == percent
    assert (SIZES[name].parameters, SIZES[name].ffn_parameters) == (total, ffn)
    assert model.get_input_embeddings().weight.is_meta
    for variant, (matrices, entries) in MATRICES[name].items():
        weights = [module.weight for module in matching(model, variant).values()]
        assert len(weights) == expected_matrices(model, variant) == matrices
        examined = sum(weight.numel() for weight in weights)
        assert entries in (None, examined)
        assert constrained_entries(SIZES[name], variant) == examined


def test_every_size_is_a_row() -> None:
    assert ROWS.keys() == MATRICES.keys() == SIZES.keys()


def test_biases_are_in_the_count_of_the_default() -> None:
    """2 x 2048 x 8192 x 24 weights and 24 x (8192 + 2048) biases (spec section 2)."""
    assert ROWS["pythia-1.4b"][1] == 2 * 2048 * 8192 * 24 + 24 * (8192 + 2048)
