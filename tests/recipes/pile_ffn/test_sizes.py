"""Pile-FFN in numbers: the tables of pile-ffn spec sections 2, 6 and 13."""

from __future__ import annotations

import pytest

from trackyard.errors import ConfigError
from trackyard.estimate.devices import DEVICES
from trackyard.estimate.forecast import STATE_BYTES
from trackyard.estimate.memory import rank_memory
from trackyard.recipes.pile_ffn.sizes import SIZES, workload
from trackyard.train.flops import step_flops


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
    tied = name in {"llama-3.2-1b", "llama-3.2-3b", "qwen2.5-1.5b"}
    found = size.shape.weights + size.shape.head * (1 if tied else 2)
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


def test_it_says_that_the_stage_is_not_there() -> None:
    assert workload(None, DEVICES["h100"]).pending is not None
    with pytest.raises(ConfigError, match="no size 'gpt2'"):
        workload("gpt2", DEVICES["h100"])
