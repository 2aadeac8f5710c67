"""Pile-FFN in numbers: the tables of pile-ffn spec sections 2, 6 and 13."""

from __future__ import annotations

from pathlib import Path

import pytest

from trackyard.errors import ConfigError
from trackyard.estimate.devices import DEVICES
from trackyard.estimate.forecast import STATE_BYTES
from trackyard.estimate.memory import rank_memory
from trackyard.parameters import parse_parameters, read_yaml
from trackyard.recipes.pile_ffn.cost.sizes import SIZES, size_of, study_workload, workload
from trackyard.recipes.pile_ffn.parameters import ModelParameters, load_pile_ffn
from trackyard.train.flops import step_flops

PROFILES = Path(__file__).resolve().parents[4] / "profiles"


@pytest.mark.parametrize("name", SIZES)
def test_every_size_steps_over_as_many_tokens(name: str) -> None:
    work = workload(name, DEVICES["a100-80"])
    assert work.packs_per_step * work.attended.length == 65_536
    assert work.tokens * work.steps == 655_360_000
    assert work.micro_batches * work.engine.micro_batch == work.packs_per_step


@pytest.mark.parametrize("name", SIZES)
def test_matrices_and_tables_are_the_parameters(name: str) -> None:
    """Weights of the layers and of the tables, without biases and norms, are P to one percent."""
    size = SIZES[name]
    found = size.shape.weights + size.shape.head * (1 if size.tied else 2)
    assert found == pytest.approx(size.parameters, rel=0.01)


def test_golden_values() -> None:
    work = workload(None, DEVICES["a100-80"])
    assert STATE_BYTES * work.trained == 16_975_773_696
    assert step_flops(work.useful) / work.tokens == pytest.approx(8.47e9, rel=0.002)
    assert (work.engine.micro_batch, workload(None, DEVICES["cpu"]).engine.micro_batch) == (8, 4)
    states = {item.name: item.bytes for item in rank_memory(work, DEVICES["a100-80"])}
    held = sum(states[name] for name in ("gradients", "masters and moments"))
    # 16 B per parameter, the bf16 weights of the forward pass besides.
    assert states["weights"] + held == pytest.approx(22.63e9, rel=0.001)


def test_a_size_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="no size 'gpt2'"):
        workload("gpt2", DEVICES["h100"])


@pytest.mark.parametrize("family", ["gpt_neox", "llama", "qwen2"])
def test_a_made_model_is_counted_like_the_stock_class(family: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM, GPTNeoXConfig, LlamaConfig, Qwen2Config

    made = {"family": family, "layers": 3, "hidden": 48, "heads": 4, "ffn": 100, "vocabulary": 300}
    size = size_of(parse_parameters(ModelParameters, {"id": "tiny", "made": made}, where="here"))
    configuration = {"gpt_neox": GPTNeoXConfig, "llama": LlamaConfig, "qwen2": Qwen2Config}[family](
        vocab_size=300, hidden_size=48, num_hidden_layers=3, num_attention_heads=4, intermediate_size=100,
        tie_word_embeddings=False, **({} if family == "gpt_neox" else {"num_key_value_heads": 4}),
    )  # fmt: skip
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(configuration)
    assert size.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert size.ffn_parameters == sum(p.numel() for name, p in model.named_parameters() if ".mlp." in name)


def test_a_model_of_the_hub_needs_a_known_size() -> None:
    model = ModelParameters(id="EleutherAI/pythia-1.4b", revision="a" * 40)
    with pytest.raises(ConfigError, match="no size None") as raised:
        size_of(model)
    assert "pile_ffn.model.size" in raised.value.fix


def test_a_study_is_the_preset_where_it_says_the_same() -> None:
    """The profile of the default study, against the table of section 6."""
    found = study_workload(load_pile_ffn(PROFILES / "pythia-1.4b-a100.yaml"), DEVICES["a100-80"])
    expected = workload("pythia-1.4b", DEVICES["a100-80"])
    assert (found.parts, found.useful, found.steps, found.save_every) == (
        expected.parts, expected.useful, expected.steps, expected.save_every
    )  # fmt: skip
    assert found.engine.micro_batch == expected.engine.micro_batch == 8
    assert found.autocast
    assert not study_workload(load_pile_ffn(PROFILES / "pythia-1.4b.yaml"), DEVICES["cpu"]).autocast


def test_a_tiny_study_has_its_own_steps() -> None:
    values = read_yaml(PROFILES / "mini.yaml")["pile_ffn"]
    found = study_workload(load_pile_ffn(PROFILES / "mini.yaml"), DEVICES["cpu"])
    assert found.packs_per_step == values["training"]["windows_per_step"]
    assert found.steps == values["training"]["steps"]
    assert found.trained < 1e7
