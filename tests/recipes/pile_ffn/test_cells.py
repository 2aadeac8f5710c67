import pytest

from trackyard.errors import ConfigError
from trackyard.recipes.pile_ffn.cells import ALL, Arm, Cell


@pytest.mark.parametrize(
    ("name", "arm", "trained"),
    [
        ("untouched", Arm("untouched"), False),
        ("baseline", Arm("baseline"), True),
        ("nonneg_mlp_in_attn_out", Arm("nonneg", "mlp_in_attn_out"), True),
        ("signfrozen_mlp_both", Arm("signfrozen", "mlp_both"), True),
        ("absinit_gated_all", Arm("absinit", "gated_all"), True),
        ("degraded_mlp_both", Arm("degraded", "mlp_both"), False),
    ],
)
def test_an_arm_is_its_name(name: str, arm: Arm, trained: bool):
    assert Arm.named(name) == arm
    assert (arm.name, arm.trained) == (name, trained)


@pytest.mark.parametrize("name", ["monotone_mlp_in", "nonneg", "nonneg_mlp", "baseline_mlp_in", "untouched_mlp_in", ""])
def test_other_names_are_refused_with_those_that_exist(name: str):
    with pytest.raises(ConfigError, match=r"no arm .*(\n|.)*nonneg_(\n|.)*mlp_in_attn_out"):
        Arm.named(name)


def test_a_cell_is_called_as_in_dvc_yaml():
    assert Cell(arm="nonneg_mlp_both", seed=42).name == "nonneg_mlp_both-42"
    assert Cell(arm="untouched", seed=None).name == "untouched"


def test_a_cell_lies_in_a_folder_of_its_arm():
    assert Cell(arm="nonneg_mlp_both", seed=42).path == "nonneg_mlp_both/42"
    assert Cell(arm="untouched", seed=None).path == "untouched"
    assert Cell(arm=ALL, seed=42).path == "42"
