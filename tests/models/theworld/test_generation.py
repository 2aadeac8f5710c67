"""Answers with a cache are those of the full forward pass, whatever is beside them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.models.theworld.tiny import (
    CPU,
    LATENT,
    NARROW,
    WIDE,
    gemma,
    samples,
    without_latents,
    world,
)
from trackyard.errors import ConfigError
from trackyard.models.theworld.batch import WorldSample, pack
from trackyard.models.theworld.generation import Started, first_logits, generate, option_scores
from trackyard.models.theworld.model import TheWorld
from trackyard.models.theworld.parameters import WorldParameters

CASES = [
    WorldParameters(),
    WorldParameters(block="bidirectional"),
    WorldParameters(placement="before_text"),
    WorldParameters(mode="pooled4", fusion="add"),
]
NEW = 9


def grown(sample: WorldSample, tokens: list[int]) -> WorldSample:
    """The prompt with tokens behind it, as one to read whole."""
    prompt, more = sample.prompt, len(tokens)
    return sample._replace(
        prompt=replace(
            prompt,
            input_ids=np.append(prompt.input_ids, np.array(tokens, dtype=np.int64)),
            token_type_ids=np.append(prompt.token_type_ids, np.zeros(more, dtype=np.int64)),
            labels=np.append(prompt.labels, np.full(more, -100)),
        )
    )


def last_logits(model: TheWorld, sample: WorldSample, tokens: list[int], keep: int) -> torch.Tensor:
    """By the full forward pass: logits [keep, V] of the last tokens."""
    with torch.no_grad():
        found: torch.Tensor = model.head(model.hidden_states(pack([grown(sample, tokens)]), CPU)[0, -keep:])
    return found


@pytest.mark.parametrize("window", [WIDE, NARROW])
@pytest.mark.parametrize("parameters", CASES, ids=["causal", "bidirectional", "before_text", "add"])
def test_decoding_step_by_step_is_the_full_forward_pass(parameters: WorldParameters, window: int) -> None:
    model, builder = world(parameters, window=window)
    items = samples(builder)
    said = torch.from_numpy(np.random.default_rng(1).integers(10, 250, (len(items), NEW)))
    with torch.no_grad():
        started = Started.of(model, items)
        steps = [started.logits_NV, *(started.read(said[:, at : at + 1])[:, 0] for at in range(NEW))]
    for row, item in enumerate(items):
        whole = last_logits(model, item, said[row].tolist(), NEW + 1)
        torch.testing.assert_close(torch.stack([step[row] for step in steps]), whole, atol=1e-4, rtol=0)


def test_without_the_window_in_the_mask_it_would_be_something_else() -> None:
    """Negative control of the test above: a narrow model that is read as if it were wide."""
    model, builder = world(WorldParameters(), window=NARROW)
    (item,) = samples(builder, images=[1])
    said = list(range(20, 20 + NEW))
    with torch.no_grad():
        started = Started.of(model, [item])
        model.config.get_text_config().sliding_window = WIDE
        logits = started.read(torch.tensor([said]))[0, -1]
        model.config.get_text_config().sliding_window = NARROW
    assert (logits - last_logits(model, item, said, 1)[0]).abs().max() > 1e-3


def greedy(model: TheWorld, item: WorldSample, count: int) -> list[int]:
    """By full forward passes alone."""
    said: list[int] = []
    for _ in range(count):
        token = int(last_logits(model, item, said, 1)[0].argmax())
        if token in model.layout.stop_ids:
            break
        said.append(token)
    return said


def test_generated_tokens_are_those_of_full_passes_at_any_batch() -> None:
    model, builder = world(WorldParameters())
    items = samples(builder)
    expected = [greedy(model, item, NEW) for item in items]
    for batch in (1, 2, 3, 8):
        assert generate(model, items, NEW, batch=batch) == expected
    assert generate(model, items[::-1], NEW) == expected[::-1]
    assert [len(answer) for answer in generate(model, items, 2)] == [2] * len(items)
    assert generate(model, items, 0) == [[]] * len(items)


def test_world_off_says_what_the_stock_model_generates() -> None:
    model, builder = world(None)
    for sample in without_latents(samples(builder)):
        prompt, stock = sample.prompt, gemma()
        out = stock.generate(
            input_ids=torch.from_numpy(prompt.input_ids)[None],
            attention_mask=torch.ones(1, len(prompt.input_ids), dtype=torch.long),
            token_type_ids=torch.from_numpy(prompt.token_type_ids)[None],
            pixel_values=torch.from_numpy(sample.pixels),
            max_new_tokens=NEW, do_sample=False, eos_token_id=list(model.layout.stop_ids), pad_token_id=0,
        )[0, len(prompt.input_ids) :].tolist()  # fmt: skip
        assert generate(model, [sample], NEW)[0] == [token for token in out if token not in model.layout.stop_ids]


def test_an_answer_ends_where_a_turn_does() -> None:
    model, builder = world(WorldParameters())
    items = samples(builder)
    said = generate(model, items, NEW)
    stop = said[0][4]
    model.layout = replace(model.layout, stop_ids=(stop,))
    ended = generate(model, items, NEW)
    assert ended == [answer[: answer.index(stop)] if stop in answer else answer for answer in said]
    assert len(ended[0]) <= 4


def test_scores_of_options_are_those_of_full_passes() -> None:
    model, builder = world(WorldParameters(), window=NARROW)
    items = samples(builder)
    options = [[[20], [21, 22, 23]], [[24, 25]], [[30], [31], [32], [33, 34, 35, 36]], [[40, 41], [42]]]
    for batch in (1, 3, 8):
        found = option_scores(model, items, options, batch=batch)
        for item, own, scores in zip(items, options, found, strict=True):
            for option, score in zip(own, scores, strict=True):
                logits = last_logits(model, item, option, len(option) + 1)[:-1].log_softmax(-1)
                expected = sum(float(logits[at, token]) for at, token in enumerate(option))
                assert score == pytest.approx(expected, abs=1e-3)
    with pytest.raises(ConfigError, match="an option without tokens"):
        option_scores(model, items[:1], [[[20], []]])


def test_shuffled_latents_change_the_first_step_and_every_latent_is_read() -> None:
    model, builder = world(WorldParameters())
    items = samples(builder)
    other = samples(builder, seed=1)
    shuffled = [item._replace(latents=one.latents) for item, one in zip(items, other, strict=True)]
    zeros = [item._replace(latents=np.zeros_like(item.latents)) for item in items]
    before = first_logits(model, items)
    assert model.images_read == sum(len(item.pixels) for item in items)
    assert all((first_logits(model, given) - before).abs().amax(-1).min() > 1e-4 for given in (shuffled, zeros))


class Disconnected(TheWorld):
    """A model whose world tokens are never put in their places, as one that was published."""

    def embeddings(self, batch: Any, device: torch.device) -> torch.Tensor:
        table = self.gemma.get_input_embeddings()
        found = super().embeddings(batch, device).flatten(0, 1)
        rows = table(torch.from_numpy(batch.input_ids.reshape(-1)[batch.block_places]))
        return found.index_copy(0, torch.from_numpy(batch.block_places), rows).reshape(*batch.input_ids.shape, -1)


def test_a_disconnected_branch_is_seen_by_its_first_step() -> None:
    model, builder = world(WorldParameters())
    apart = Disconnected(model.gemma, model.world, model.layout)
    items, other = samples(builder), samples(builder, seed=1)
    shuffled = [item._replace(latents=one.latents) for item, one in zip(items, other, strict=True)]
    assert torch.equal(first_logits(apart, items), first_logits(apart, shuffled))


def test_a_prompt_that_lost_tokens_or_holds_its_answer_is_refused() -> None:
    model, builder = world(WorldParameters())
    whole = samples(builder, images=[1])[0]
    cut = whole.prompt.input_ids[:-2]
    lost = replace(
        whole.prompt, input_ids=cut, token_type_ids=whole.prompt.token_type_ids[:-2], labels=whole.prompt.labels[:-2]
    )
    for sample in (whole._replace(prompt=lost), samples(builder, answers=True, images=[1])[0]):
        with pytest.raises(ConfigError, match="a prompt of"):
            generate(model, [sample], 1)
    # What was lost mattered.
    assert generate(model, [whole], 3) != generate(
        model, [whole._replace(prompt=replace(lost, prompt_len=len(cut)))], 3
    )


def test_a_model_in_training_generates_and_trains_on() -> None:
    model, builder = world(WorldParameters())
    items = samples(builder, images=[1])
    expected = generate(model, items, 3)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    assert generate(model, items, 3) == expected
    assert model.training
    assert model.gemma.training
    with pytest.raises(ConfigError, match="no latents"):
        generate(model, without_latents(items), 3)
    assert model.training, "after an error, too"
    assert items[0].latents is not None
    assert items[0].latents.shape[1:] == LATENT
