"""The engine on one rank: the same step however it is split, exact fp32 masters, no update that is no number."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch

from tests.tiny_molmo2 import batch, model, sample
from trackyard.errors import ConfigError
from trackyard.feed.batch import Batch
from trackyard.models.molmo2 import component_of
from trackyard.parameters import parse_parameters
from trackyard.recipes.molmo2.forward import forward
from trackyard.train.engine import Engine, StepResult
from trackyard.train.parameters import ComponentRate, EngineParameters, OptimiserParameters, accumulation
from trackyard.train.ranks import join_ranks
from trackyard.train.schedule import learning_rate

PACKS = 8
STEPS = 10

pytestmark = pytest.mark.usefixtures("one_rank")


@lru_cache(maxsize=1)
def packs() -> list[list[Any]]:
    """Eight packs of unequal weight: images, clips, branches, and one without media."""
    rows = [("pixmo-cap", 0), ("tulu", 0)], [("molmo2-cap", 0)], [("tulu", 1)], [("vqa-v2", 0)]
    more = [("tallyqa", 0), ("tulu", 2)], [("a-okvqa", 0)], [("molmo2-capqa", 0)], [("pixmo-count", 3)]
    return [[sample(*row) for row in pack] for pack in (*rows, *more)]


@lru_cache(maxsize=4)
def micro_batches(size: int) -> list[Batch]:
    length = max(sum(len(row.tree) for row in pack) for pack in packs())
    return [batch(packs()[at : at + size], length=length) for at in range(0, PACKS, size)]


def weight() -> float:
    return sum(float(row.tree.weights.sum(dtype="float64")) for pack in packs() for row in pack)


def optimiser(rate: float = 1e-3, vit: float | None = None, warmup: int = 0, **values: float) -> OptimiserParameters:
    rates = {"vit": rate if vit is None else vit, "connector": rate, "llm": rate}
    return OptimiserParameters(
        rates={name: ComponentRate(learning_rate=value, warmup_steps=warmup) for name, value in rates.items()}, **values
    )


UNCLIPPED = {"clip_norm": 1e9}
"""With this, the first moment after one step is a tenth of the gradient."""


def engine(
    size: int = 8,
    mode: tuple[str, int] = ("fp32", 0),
    optimise: OptimiserParameters | None = None,
    seed: int = 0,
    **settings: Any,
) -> Engine:
    return Engine(
        model(seed=seed),
        component_of=component_of,
        optimiser=optimise or optimiser(),
        engine=EngineParameters(micro_batch=size, precision=mode[0], zero_stage=mode[1], **settings),  # type: ignore[arg-type]
        packs_per_step=PACKS,
        steps=STEPS,
        forward=forward,
        ranks=join_ranks(1),
    )


@dataclass(frozen=True)
class Step:
    """A step's result, read."""

    loss: float
    gradient_norm: float
    skipped: bool
    result: StepResult


def read(result: StepResult) -> Step:
    return Step(float(result.loss), float(result.gradient_norm), bool(result.skipped), result)


def run(of: Engine, size: int, numbers: Sequence[int]) -> list[Step]:
    return [read(of.step(number, micro_batches(size), weight())) for number in numbers]


def copy_of(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in weights.items()}


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: after[name].double() - before[name].double() for name in before}


def relative(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Largest difference of a tensor, relative to its own size; a tensor of no gradient counts against the largest."""
    largest = max(float(tensor.norm()) for tensor in one.values())
    return max(float((one[name] - other[name]).norm()) / max(float(one[name].norm()), 1e-3 * largest) for name in one)


# The global batch ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("packs_per_step", "micro", "world", "wanted"), [(8, 1, 1, 8), (8, 2, 1, 4), (8, 2, 4, 1)])
def test_accumulation(packs_per_step: int, micro: int, world: int, wanted: int) -> None:
    assert accumulation(packs_per_step, micro, world) == wanted


def test_a_batch_that_does_not_divide_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"packs_per_step=8 is not a multiple of micro_batch=3 x ranks=2"):
        accumulation(8, 3, 2)


def by_hand() -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradient of the weighted mean over the eight packs, by plain autograd."""
    net = model()
    loss = forward(net, micro_batches(8)[0]).total / weight()
    loss.backward()
    return loss.item(), {name: parameter.grad.double() for name, parameter in net.named_parameters()}


def gradient_seen(of: Engine) -> dict[str, torch.Tensor]:
    """The gradient that the first step was taken with, from the optimiser's first moment."""
    states = of.optimizer.state
    return {name: 10 * states[parameter]["exp_avg"].double() for name, parameter in of.module.named_parameters()}


@pytest.mark.parametrize("size", [1, 2, 8])
def test_any_split_gives_the_gradient_of_the_weighted_mean(size: int) -> None:
    loss, gradient = by_hand()
    of = engine(size, optimise=optimiser(**UNCLIPPED))
    assert of.accumulation == PACKS // size
    [result] = run(of, size, [0])
    assert relative(gradient, gradient_seen(of)) <= 1e-5
    assert result.loss == pytest.approx(loss, rel=1e-5)
    norm = float(torch.stack([g.norm() for g in gradient.values()]).norm())
    assert result.gradient_norm == pytest.approx(norm, rel=1e-5)
    assert norm > 1.0, "the norm is the one before clipping"
    whole = torch.cat([part.cross_entropy for part in result.result.losses])
    assert len(whole) == sum(int((row.tree.weights > 0).sum()) for pack in packs() for row in pack)


def test_negative_control_a_mean_of_micro_batch_means_is_another_loss() -> None:
    net = model()
    means = [forward(net, part).total.item() / float(part.weights.sum()) for part in micro_batches(1)]
    assert abs(sum(means) / len(means) - by_hand()[0]) > 1e-3


@pytest.mark.parametrize("mode", [("fp32", 0), ("fp32", 2), ("fp32", 3)])
def test_training_equals_torch_alone(mode: tuple[str, int]) -> None:
    rate = 1e-3
    net = model()
    plain = torch.optim.AdamW(net.parameters(), betas=(0.9, 0.95), eps=1e-6, weight_decay=0.0)
    wanted = []
    for number in range(3):
        for group in plain.param_groups:
            group["lr"] = learning_rate(number, base=rate, warmup=0, total=STEPS)
        plain.zero_grad()
        loss = forward(net, micro_batches(8)[0]).total / weight()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        plain.step()
        wanted.append((loss.item(), norm.item()))
    of = engine(4, mode)
    found = run(of, 4, range(3))
    assert [pytest.approx(pair, rel=1e-4) for pair in wanted] == [(step.loss, step.gradient_norm) for step in found]
    assert wanted[0][1] > 1.0, "something is clipped"
    after = {name: parameter.detach() for name, parameter in net.named_parameters()}
    for name, tensor in of.weights().items():
        # The bias of keys has no gradient but rounding, which Adam scales up.
        if not name.endswith("k_proj.bias"):
            assert float((tensor - after[name]).norm()) <= 1e-3 * 3 * rate * tensor.numel() ** 0.5, name


# Rates ---------------------------------------------------------------------------------------------------------------


def test_each_component_follows_its_own_schedule() -> None:
    rates = {
        "vit": ComponentRate(learning_rate=1e-3, warmup_steps=4),
        "connector": ComponentRate(learning_rate=2e-3, warmup_steps=0),
        "llm": ComponentRate(learning_rate=3e-3, warmup_steps=2),
    }
    of = engine(optimise=OptimiserParameters(rates=rates))
    for number in (0, 3, 9):
        [result] = run(of, 8, [number])
        assert result.result.rates == {
            name: learning_rate(number, base=rate.learning_rate, warmup=rate.warmup_steps, total=STEPS)
            for name, rate in rates.items()
        }
        applied = {group["name"]: group["lr"] for group in of.optimizer.param_groups}
        assert applied == result.result.rates


def test_the_first_step_of_a_warmup_moves_nothing() -> None:
    of = engine(optimise=optimiser(warmup=5))
    before = copy_of(of.weights())
    run(of, 8, [0])
    assert all(not delta.any() for delta in moved(before, of.weights()).values())
    run(of, 8, [1])
    assert all(delta.any() for delta in moved(before, of.weights()).values())


@pytest.mark.parametrize(("vit", "mode"), [(0.0, ("fp32", 0)), (0.0, ("bf16", 2)), (1e-3, ("fp32", 0))])
def test_rate_zero_freezes_one_component_only(vit: float, mode: tuple[str, int]) -> None:
    start = {name: parameter.detach().clone() for name, parameter in model().named_parameters()}
    of = engine(mode=mode, optimise=optimiser(vit=vit))
    results = run(of, 8, range(2))
    after = of.weights()
    for name, delta in moved(start, after).items():
        assert bool(delta.any()) is (component_of(name) != "vit" or vit > 0), name
    assert set(results[0].result.rates) == ({"connector", "llm"} if vit == 0 else {"vit", "connector", "llm"})


# Refusals ------------------------------------------------------------------------------------------------------------


MODES = [("fp32", 0), ("fp32", 1), ("fp32", 2), ("fp32", 3), ("bf16", 1), ("bf16", 3)]


def state_of(of: Engine) -> list[torch.Tensor]:
    """Weights, moments and step counts, as AdamW has them."""
    states = [value for state in of.optimizer.state.values() for value in state.values()]
    return [tensor.clone() for tensor in (*of.weights().values(), *states)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("why", ["no target", "a loss that is no number"])
def test_a_step_that_cannot_be_taken_changes_nothing(mode: tuple[str, int], why: str) -> None:
    of = engine(mode=mode)
    [first] = run(of, 8, [0])
    before = state_of(of)
    if why == "no target":
        bad = read(of.step(1, micro_batches(8), 0.0))
    else:
        bad = read(of.step(1, [replace(part, weights=part.weights * np.inf) for part in micro_batches(8)], weight()))
    assert not first.skipped
    assert bad.skipped
    assert not math.isfinite(bad.loss)
    after = state_of(of)
    assert len(before) == len(after) > 100
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    # The next good step is what it would have been.
    twin = engine(mode=mode)
    run(twin, 8, [0])
    assert run(of, 8, [2])[0].loss == run(twin, 8, [2])[0].loss


class Approving:
    """A judge that lets everything pass."""

    def verdict(self, loss: torch.Tensor, gradient_norm: torch.Tensor) -> torch.Tensor:
        return torch.zeros(())


def test_negative_control_without_a_judge_the_weights_are_no_numbers_any_more() -> None:
    of = Engine(
        model(),
        component_of=component_of,
        optimiser=optimiser(),
        engine=EngineParameters(micro_batch=8),
        packs_per_step=PACKS,
        steps=STEPS,
        forward=forward,
        ranks=join_ranks(1),
        guard=Approving(),
    )
    of.step(0, micro_batches(8), 0.0)
    assert not all(torch.isfinite(tensor).all() for tensor in of.weights().values())


def test_bf16_without_sharding_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"precision=bf16 with zero_stage=0.*set zero_stage to 1, 2 or 3"):
        parse_parameters(EngineParameters, {"precision": "bf16", "zero_stage": 0}, where="params.yaml: molmo2.engine")


# bf16 ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [("bf16", 1), ("bf16", 2), ("bf16", 3)])
def test_bf16_starts_from_the_exact_weights_it_was_given(mode: tuple[str, int]) -> None:
    start = dict(model().named_parameters())
    of = engine(mode=mode)
    found = of.weights()
    assert {tensor.dtype for tensor in found.values()} == {torch.float32}
    assert all(torch.equal(tensor, start[name]) for name, tensor in found.items())
    assert {parameter.dtype for parameter in of.module.parameters()} == {torch.bfloat16}


def test_updates_below_the_bf16_spacing_are_kept() -> None:
    rate = 1e-6
    of = engine(mode=("bf16", 2), optimise=optimiser(rate))
    start, coarse = copy_of(of.weights()), {n: p.detach().clone() for n, p in of.module.named_parameters()}
    results = run(of, 8, range(5))
    assert all(torch.isfinite(torch.tensor([r.loss, r.gradient_norm])).all() for r in results)
    after = of.weights()
    for name, delta in moved(start, after).items():
        # Half the distance between bf16 neighbours: what a pure bf16 optimiser would round away.
        spacing = coarse[name].float().abs() * 2**-9
        large = spacing > 10 * rate
        assert delta.any(), f"{name} did not move"
        assert (delta.abs()[large] < spacing[large]).all(), name
    # Negative control: the bf16 weights of one large matrix have hardly moved at all.
    name = "model.language_model.layers.0.mlp.up_proj.weight"
    now = dict(of.module.named_parameters())[name]
    assert (now != coarse[name]).float().mean() < 0.2
    assert (after[name] != start[name]).float().mean() > 0.9


def test_bf16_learns_what_fp32_learns() -> None:
    exact = run(engine(), 8, range(4))
    found = run(engine(2, ("bf16", 2)), 2, range(4))
    assert [r.loss for r in found] == [pytest.approx(r.loss, rel=0.02) for r in exact]
    assert [r.gradient_norm for r in found] == [pytest.approx(r.gradient_norm, rel=0.1) for r in exact]
    assert exact[-1].loss < 0.9 * exact[0].loss


# Movement ------------------------------------------------------------------------------------------------------------


def test_every_tensor_moves_within_five_steps_at_the_rates_of_the_seed() -> None:
    of = engine(optimise=optimiser(1e-4, warmup=2_000))
    start = copy_of(of.weights())
    results = run(of, 8, range(5))
    assert all(0 < r.gradient_norm < float("inf") for r in results)
    assert [name for name, delta in moved(start, of.weights()).items() if not delta.any()] == []


# Ranks ---------------------------------------------------------------------------------------------------------------


def test_sums_over_one_rank_are_its_own() -> None:
    of = engine()
    assert of.sum_by_name({"b": (1.5, 2.0), "a": (3.0, 4.0)}) == {"a": (3.0, 4.0), "b": (1.5, 2.0)}
    assert of.sum_by_name({}) == {}
    assert of.any_rank(True)
    assert not of.any_rank(False)


def test_deepspeed_brings_no_mlflow() -> None:
    """Which would have every rank import a thousand modules more; whoever wants it later finds it."""
    code = (
        "import sys; from importlib.util import find_spec; from trackyard.train.engine import import_deepspeed; "
        "import_deepspeed(); "
        "print(*(name in sys.modules for name in ('deepspeed', 'mlflow')), find_spec('mlflow') is not None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-3:] == ["True", "False", "True"]
