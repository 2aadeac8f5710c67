"""The loss of windows through the families, and its denominator. Row 6 of the pile-ffn spec."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.recipes.pile_ffn.tiny_study import FAMILIES, VARIANTS, VOCABULARY, random_model, tiny_study
from trackyard.models.attention import use_masks
from trackyard.models.text_packs import TextPacks
from trackyard.recipes.pile_ffn.arms.declaring import init
from trackyard.recipes.pile_ffn.arms.forward import forward, shape_of
from trackyard.recipes.pile_ffn.arms.jobs import arm_job
from trackyard.recipes.pile_ffn.arms.starting import start_of
from trackyard.recipes.pile_ffn.cells import Arm, Cell
from trackyard.recipes.pile_ffn.cost.architectures import skeleton
from trackyard.recipes.pile_ffn.cost.sizes import SIZES
from trackyard.recipes.pile_ffn.parameters import Family
from trackyard.train.guard import Guard
from trackyard.train.parameters import EngineParameters
from trackyard.train.ranks import join_ranks


def windows(count: int = 3, length: int = 20) -> np.ndarray:
    return np.random.default_rng(0).integers(1, VOCABULARY, (count, length + 1))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_that_of_the_stock_model(family: Family) -> None:
    model, found = random_model(family), windows()
    packs = TextPacks.of_windows(found)
    loss = forward(model, packs, masked=False, loss_chunk=2048)
    logits = model(input_ids=torch.from_numpy(found[:, :-1])).logits
    wanted = F.cross_entropy(logits.flatten(0, 1), torch.from_numpy(found[:, 1:].flatten()), reduction="sum")
    assert float(loss.total.detach()) == pytest.approx(float(wanted.detach()), rel=1e-6)
    assert (len(loss.cross_entropy), float(loss.weight.sum())) == (60, 60.0)
    pieces = forward(model, packs, masked=False, loss_chunk=16)
    assert float(pieces.total.detach()) == pytest.approx(float(wanted.detach()), rel=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_documents_that_do_not_see_each_other(family: Family) -> None:
    """Without an end inside, a mask changes nothing; with one, the second document is as if it were alone."""
    model, stock, found = random_model(family), random_model(family), windows(count=1)
    use_masks(model, "dense")
    whole = forward(stock, TextPacks.of_windows(found), masked=False, loss_chunk=2048)
    masked = forward(model, TextPacks.of_windows(found, separator=0), masked=True, loss_chunk=2048)
    assert torch.allclose(whole.cross_entropy, masked.cross_entropy, atol=1e-5)
    found[0, 9] = 0
    parted = forward(model, TextPacks.of_windows(found, separator=0), masked=True, loss_chunk=2048)
    alone = forward(stock, TextPacks.of_windows(found[:, 10:]), masked=False, loss_chunk=2048)
    assert len(parted.cross_entropy) == 19, "an end predicts nothing"
    assert torch.allclose(parted.cross_entropy[9:], alone.cross_entropy, atol=1e-5)
    joined = forward(stock, TextPacks.of_windows(found), masked=False, loss_chunk=2048)
    assert not torch.allclose(joined.cross_entropy[10:], alone.cross_entropy, atol=1e-2)


@pytest.mark.parametrize("family", FAMILIES)
def test_row_6_any_split_of_a_step_gives_one_gradient(tmp_path: Path, family: Family) -> None:
    """32 windows as (micro-batch, accumulation) (8, 4), (4, 8) and (32, 1), and by plain autograd.

    What backward computes again, the constrained weights among it, is the same.
    """
    training = {"windows_per_step": 32, "window": 16, "clip_norm": 1e9}
    study = tiny_study(tmp_path, family, training=training, engine={"micro_batch": 32})
    init(study, lambda _: None)
    arm = f"nonneg_{VARIANTS[family][1]}"
    job = arm_job(study, Cell(arm=arm, seed=42))
    ranks = join_ranks(1)
    found: dict[tuple[int, int, str], dict[str, torch.Tensor]] = {}
    for size, again in ((8, "none"), (4, "none"), (32, "none"), (32, "full")):
        settings = EngineParameters(micro_batch=size, activation_checkpointing=again)  # type: ignore[arg-type]
        engine = job.build(settings, ranks, Guard(job.guard, device=torch.device("cpu")))
        track = job.share(engine, ranks, settings, SimpleNamespace(path=tmp_path), None)  # type: ignore[arg-type]
        data = track.share(1)
        engine.step(1, track.batches(data), data.weight)
        state = engine.optimizer.state
        # The first moment after one step is a tenth of the gradient.
        found[size, engine.accumulation, again] = {
            name: 10 * state[weight]["exp_avg"].double() for name, weight in engine.named_parameters()
        }
    assert list(found) == [(8, 4, "none"), (4, 8, "none"), (32, 1, "none"), (32, 1, "full")]
    start = start_of(study, Arm.named(arm)).model
    packs = data.batches[0]
    total = forward(start, packs, masked=False, loss_chunk=2048).total
    (total / (32 * 16)).backward()
    by_hand = {name: weight.grad.double() for name, weight in start.named_parameters()}
    assert data.weight == 32 * 16
    for gradient in found.values():
        assert difference(by_hand, gradient) <= 1e-6
    # Negative control: the sum divided by the windows only, as a mean of means over other sizes would.
    assert difference(by_hand, {name: value * 16 for name, value in by_hand.items()}) > 1


def difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Of two gradients, relative to the first."""
    apart = sum(float((one[name] - other[name]).square().sum()) for name in one)
    return float((apart / sum(float(value.square().sum()) for value in one.values())) ** 0.5)


@pytest.mark.parametrize("size", ["pythia-160m", "llama-3.2-1b", "qwen2.5-1.5b"])
def test_widths_are_read_from_the_configuration(size: str) -> None:
    assert shape_of(skeleton(size).config) == SIZES[size].shape


def test_on_a_gpu_products_are_computed_in_bf16_and_losses_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU the same autocast stands in for that of a GPU; free weights and losses stay fp32."""
    real = torch.autocast
    monkeypatch.setattr(torch, "autocast", lambda device, **settings: real(device, **(settings | {"enabled": True})))
    model = random_model("gpt_neox")
    seen: list[Any] = []
    model.gpt_neox.layers[0].mlp.dense_h_to_4h.register_forward_hook(lambda _m, _i, out: seen.append(out.dtype))
    run = partial(forward, model, TextPacks.of_windows(windows()), masked=False, loss_chunk=2048)
    loss = run()
    assert seen == [torch.bfloat16]
    assert (loss.cross_entropy.dtype, loss.total.dtype) == (torch.float32, torch.float32)
    monkeypatch.setattr(torch, "autocast", real)
    assert float(run().total.detach()) == pytest.approx(float(loss.total.detach()), rel=1e-2)
    assert seen[-1] == torch.float32
