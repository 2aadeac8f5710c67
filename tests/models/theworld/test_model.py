"""What the model is before any step: stock Gemma with the world off or a closed gate, never quite so with tokens."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.models.theworld.tiny import (
    CPU,
    LATENT,
    NARROW,
    SOFT,
    WIDE,
    gemma,
    prompts,
    samples,
    stock_logits,
    without_latents,
    world,
)
from trackyard.errors import ConfigError
from trackyard.feed.visibility import Visibility
from trackyard.models.theworld.batch import WorldBatch, WorldSample, pack
from trackyard.models.theworld.model import TheWorld, thawable
from trackyard.models.theworld.parameters import WorldParameters

INSERT, ADD = WorldParameters(mode="pooled8"), WorldParameters(mode="pooled4", fusion="add")
BIDIRECTIONAL = WorldParameters(mode="pooled8", block="bidirectional")


def logits_of(model: TheWorld, of: list[WorldSample]) -> torch.Tensor:
    """Logits [T, V] of a packed row."""
    with torch.no_grad():
        found: torch.Tensor = model.head(model.hidden_states(pack(of), CPU)[0])
    return found


@pytest.mark.parametrize("window", [WIDE, NARROW])
def test_world_off_is_the_stock_model_to_the_bit(window: int) -> None:
    model, builder = world(None, window=window)
    for sample in without_latents(samples(builder, answers=True)):
        assert torch.equal(logits_of(model, [sample]), stock_logits(gemma(window), sample))


@pytest.mark.parametrize("window", [WIDE, NARROW])
def test_packed_samples_do_not_see_each_other(window: int) -> None:
    model, builder = world(INSERT, window=window)
    row = samples(builder, answers=True)
    alone = torch.cat([logits_of(model, [sample]) for sample in row])
    torch.testing.assert_close(logits_of(model, row), alone, atol=1e-4, rtol=0)
    other = samples(builder, answers=True, seed=1)
    first = len(row[0].prompt.input_ids)
    changed = logits_of(model, [other[0], *row[1:]])
    assert (changed[:first] - alone[:first]).abs().max() > 1e-2
    torch.testing.assert_close(changed[first:], alone[first:], atol=1e-4, rtol=0)


def test_a_closed_gate_is_the_stock_model_to_the_bit() -> None:
    model, builder = world(ADD)
    with_latents = samples(builder, answers=True)
    for sample in with_latents:
        assert torch.equal(logits_of(model, [sample]), stock_logits(gemma(), sample))
    assert model.images_read == sum(len(sample.pixels) for sample in with_latents)
    # Opened, it is not.
    with torch.no_grad():
        model.world.alpha.fill_(0.1)  # type: ignore[union-attr, operator]
    assert (logits_of(model, with_latents[:1]) - stock_logits(gemma(), with_latents[0])).abs().max() > 1e-3


def loss_of(model: TheWorld, batch: WorldBatch) -> torch.Tensor:
    answers = model.hidden(batch, CPU)
    return F.cross_entropy(model.head(answers.hidden_AD), answers.targets_A)


def test_one_step_moves_the_gate_and_the_second_the_projector() -> None:
    model, builder = world(ADD)
    model.train()
    batch = pack(samples(builder, answers=True))
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    start = {name: weight.detach().clone() for name, weight in model.named_parameters()}

    def moved() -> set[str]:
        return {name for name, weight in model.named_parameters() if not torch.equal(weight, start[name])}

    found = []
    for _ in range(2):
        optimiser.zero_grad()
        loss_of(model, batch).backward()
        assert all(weight.grad is not None for weight in model.parameters())
        optimiser.step()
        found.append(moved())
    assert found == [{"world.alpha"}, set(start)]


def test_inserted_tokens_all_get_a_gradient_and_move_in_one_step() -> None:
    model, builder = world(INSERT)
    model.train()
    start = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    matrices = {f"world.projector.{at}.{kind}" for at in (0, 2) for kind in ("weight", "bias")}
    assert set(start) == {"world.boundaries", "world.gamma"} | matrices
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    loss_of(model, pack(samples(builder, answers=True))).backward()
    assert all(weight.grad is not None and weight.grad.norm() > 0 for weight in model.parameters())
    optimiser.step()
    assert all(not torch.equal(weight, start[name]) for name, weight in model.named_parameters())
    assert all(weight.grad is None and not weight.requires_grad for weight in model.gemma.parameters())


def test_a_row_that_is_filled_up_to_whole_blocks_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """As block masks of a GPU want it. With flex attention itself this takes a minute here: logits agreed to 1e-4."""
    model, builder = world(BIDIRECTIONAL)
    row = samples(builder, answers=True)
    expected = logits_of(model, row)
    monkeypatch.setattr("trackyard.models.theworld.model.packed_length", lambda gemma, length, context: length + 37)
    torch.testing.assert_close(logits_of(model, row), expected, atol=1e-4, rtol=0)


class Blind(TheWorld):
    """World tokens that nobody sees but they themselves, while all other tokens keep their positions."""

    hidden_places: Any

    def masks(self, visibility: Visibility, device: torch.device, *, dense: bool = False) -> Any:
        found = dict(super().masks(visibility, device, dense=dense))
        blind = torch.zeros(visibility.levels.shape, dtype=torch.bool)
        blind.view(-1)[torch.from_numpy(self.hidden_places)] = True
        own = torch.eye(blind.shape[1], dtype=torch.bool)
        return {kind: mask & (~blind[:, None, None] | own) for kind, mask in found.items()}


def restored(batch: WorldBatch) -> WorldBatch:
    """With the positions that the other tokens have without the world tokens."""
    places = batch.block_places
    kept = np.setdiff1d(np.arange(batch.input_ids.size), places)
    positions = batch.positions.copy()
    positions[0, kept] = np.arange(len(kept))
    return replace(batch, positions=positions)


@pytest.mark.parametrize(("window", "equal"), [(WIDE, True), (NARROW, False)])
def test_inserted_zeros_are_not_neutral_and_masked_tokens_are_within_the_window(window: int, equal: bool) -> None:
    """Beyond it they are not: a window counts places, those of masked tokens too."""
    model, builder = world(INSERT, window=window)
    (sample,) = samples(builder, answers=True, images=[1])
    (bare,) = without_latents(samples(prompts(None), answers=True, images=[1]))
    stock, batch = stock_logits(gemma(window), bare), pack([sample])
    kept = torch.from_numpy(np.setdiff1d(np.arange(batch.input_ids.size), batch.block_places))
    with torch.no_grad():
        model.world.gamma.zero_()  # type: ignore[union-attr, operator]
        model.world.boundaries.zero_()  # type: ignore[union-attr, operator]
        zeros = model.head(model.hidden_states(batch, CPU)[0])[kept]
        blind = Blind(model.gemma, model.world, model.layout)
        blind.hidden_places = batch.block_places
        masked = blind.head(blind.hidden_states(restored(batch), CPU)[0])[kept]
    assert (zeros - stock).abs().max() > 1e-3, "zero keys receive softmax mass"
    difference = (masked - stock).abs().max()
    assert difference <= 1e-4 if equal else difference > 1e-4


def test_a_two_way_block_is_one_and_apart_from_the_image() -> None:
    causal, builder = world(INSERT)
    both_ways, other = world(BIDIRECTIONAL)
    one, two = samples(builder)[0], samples(other)[0]
    np.testing.assert_array_equal(one.prompt.input_ids, two.prompt.input_ids)
    assert (logits_of(causal, [one]) - logits_of(both_ways, [two])).abs().max() > 1e-3
    blocks = pack([two]).blocks[0]
    ((image, _),), ((start, stop),) = two.prompt.image_spans, two.prompt.world_spans
    assert (set(blocks[start:stop]), blocks[image]) == ({1}, 0)
    assert blocks[start - 1] == blocks[stop] == -1


def test_the_gradient_of_logits_is_zero_where_nothing_is_learned() -> None:
    model, builder = world(INSERT)
    batch = pack(samples(builder, answers=True))
    logits_TV = model.head(model.hidden_states(batch, CPU)[0]).detach().requires_grad_()
    supervised = torch.from_numpy(batch.supervised)
    F.cross_entropy(logits_TV[supervised], torch.from_numpy(batch.targets)).backward()
    others = torch.ones(len(logits_TV), dtype=torch.bool)
    others[supervised] = False
    assert logits_TV.grad is not None
    assert (logits_TV.grad[others] == 0).all()
    assert (logits_TV.grad[supervised].abs().sum(-1) > 0).all()


def test_the_step_zero_loss_is_the_stock_models() -> None:
    """Supervised hidden states, their targets and the head give transformers' own loss."""
    model, builder = world(None)
    row = without_latents(samples(builder, answers=True, images=[1, 1, 1]))
    for sample in row:
        stock = gemma()
        logits = stock_logits(stock, sample)
        wanted = F.cross_entropy(logits[:-1], torch.from_numpy(sample.prompt.labels[1:]), ignore_index=-100)
        with torch.no_grad():
            torch.testing.assert_close(loss_of(model, pack([sample])), wanted)
    # Labels that are rebuilt from inputs, as a published system did, are other targets.
    rebuilt = replace(row[0].prompt, labels=row[0].prompt.input_ids)
    with pytest.raises(ConfigError, match="labels at the prompt"):
        pack([row[0]._replace(prompt=rebuilt)])


def test_only_what_is_trained_is_registered() -> None:
    for parameters in (INSERT, ADD, None):
        model, _ = world(parameters)
        assert all(name.startswith("world.") for name in model.state_dict())
        assert len(list(model.parameters())) == len(model.state_dict())
        assert not any(weight.requires_grad for weight in model.gemma.parameters())
    assert not list(world(None)[0].parameters())


def test_thawed_parts_are_trained_in_fp32_and_named_by_component() -> None:
    stock = gemma().to(torch.bfloat16)
    model, builder = world(INSERT, thaw=("gemma_vision", "gemma_language"), on=stock)
    components = {model.component_of(name) for name, _ in model.named_parameters()}
    assert components == {"world", "gemma_vision", "gemma_language"}
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert stock.lm_head.weight is stock.get_input_embeddings().weight, "the head stays tied"
    model.train()
    with torch.autocast("cpu", torch.bfloat16):
        loss_of(model, pack(samples(builder, answers=True))).backward()
    lost = [name for name, weight in model.named_parameters() if weight.grad is None]
    # SigLIP's last norm comes before the projector; nothing of it is left out.
    assert not lost
    assert sum(weight.numel() for weight in thawable(stock)["gemma_vision"].parameters()) == sum(
        weight.numel() for name, weight in model.named_parameters() if model.component_of(name) == "gemma_vision"
    )


def test_decay_is_of_the_projectors_matrices_only() -> None:
    model, _ = world(INSERT, thaw=("gemma_vision",))
    decayed = {name for name, _ in model.named_parameters() if model.decays(name)}
    assert decayed == {"world.projector.0.weight", "world.projector.2.weight"}


def test_activations_computed_again_give_the_same_gradient() -> None:
    gradients = []
    for again in (False, True):
        model, builder = world(INSERT)
        if again:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.train()
        loss_of(model, pack(samples(builder, answers=True))).backward()
        gradients.append([weight.grad for weight in model.parameters()])
    torch.testing.assert_close(*gradients)


def test_a_bf16_gemma_under_autocast_trains_an_fp32_branch() -> None:
    model, builder = world(INSERT, on=gemma().to(torch.bfloat16))
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    with torch.autocast("cpu", torch.bfloat16):
        loss_of(model, pack(samples(builder, answers=True))).backward()
    assert all(weight.grad is not None and weight.grad.dtype == torch.float32 for weight in model.parameters())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"pixels": np.zeros((0, 3, 32, 32), np.float32)}, "0 images for a prompt about 1"),
        ({"pixels": None}, "0 images for a prompt about 1"),
        ({"latents": None}, "no latents for 1 blocks"),
        ({"latents": np.zeros((2, *LATENT), np.float16)}, "2 latents for a prompt about 1"),
    ],
)
def test_a_forgotten_image_or_latent_is_refused(changed: dict[str, Any], message: str) -> None:
    _, builder = world(INSERT)
    with pytest.raises(ConfigError, match=message):
        pack([samples(builder)[0]._replace(**changed)])


def test_omitted_token_types_are_refused_and_would_have_changed_the_answer() -> None:
    model, builder = world(INSERT)
    sample = samples(builder)[0]
    types = np.zeros_like(sample.prompt.token_type_ids)
    for given, message in ((None, "no token_type_ids"), (types, "token_type_ids of 0 at an image")):
        with pytest.raises(ConfigError, match=message):
            pack([sample._replace(prompt=replace(sample.prompt, token_type_ids=given))])  # type: ignore[arg-type]
    batch = pack([sample])
    causal = replace(batch, blocks=np.full_like(batch.blocks, -1))
    with torch.no_grad():
        assert (model.hidden_states(batch, CPU) - model.hidden_states(causal, CPU)).abs().max() > 1e-3


def test_latents_of_an_added_branch_cannot_be_forgotten_either() -> None:
    model, builder = world(ADD)
    with pytest.raises(ConfigError, match="0 latents, but 1 images"):
        model.hidden_states(pack(without_latents(samples(builder, images=[1]))), CPU)


def test_prompts_of_another_arrangement_are_refused() -> None:
    on, builder = world(INSERT)
    off, bare = world(None)
    with pytest.raises(ConfigError, match="the world off, but 6 places"):
        off.hidden_states(pack(samples(builder)[:1]), CPU)
    with pytest.raises(ConfigError, match="6 world tokens, but 0 places"):
        on.hidden_states(pack(samples(bare)[:1]), CPU)
    with pytest.raises(ConfigError, match="prompts with 0 world tokens an image"):
        TheWorld(gemma(), on.world, bare.layout)
    with pytest.raises(ConfigError, match=f"prompts with {SOFT + 1} soft tokens"):
        TheWorld(gemma(), None, replace(bare.layout, image_tokens=SOFT + 1))
    with pytest.raises(ConfigError, match="reserved ids up to 100001"):
        TheWorld(gemma(), on.world, replace(builder.layout, world_id=100_001))


def test_what_the_branch_says_reaches_the_answer() -> None:
    """Another image's latent and zeros each change what is learned from; free vectors take no notice."""
    model, builder = world(INSERT)
    sample = samples(builder, answers=True, images=[1])[0]
    given = [samples(builder, images=[1], seed=1)[0].latents, np.zeros((1, *LATENT), np.float16)]

    def logits(latents: Any) -> torch.Tensor:
        with torch.no_grad():
            answers = model.hidden(pack([sample._replace(latents=latents)]), CPU)
            found: torch.Tensor = model.head(answers.hidden_AD)
        return found

    before = logits(sample.latents)
    assert all((logits(other) - before).abs().max() > 1e-4 for other in given)
    control, other_builder = world(INSERT, soft_prompt=True)
    fixed = samples(other_builder, answers=True, images=[1])[0]
    with torch.no_grad():
        one, two = (
            control.head(control.hidden(pack([fixed._replace(latents=latents)]), CPU).hidden_AD)
            for latents in (fixed.latents, given[0])
        )
    assert torch.equal(one, two)
