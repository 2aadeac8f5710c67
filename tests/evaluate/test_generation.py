"""Greedy answers: the same alone and in a batch, and those of the full forward pass, token by token."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.tiny_molmo2 import GEOMETRY, model, prompt, tokens
from trackyard.evaluate.generation import generate
from trackyard.feed.batch import collate
from trackyard.feed.sample import Sample
from trackyard.feed.tree import allowed
from trackyard.models.pixels import normalise_patches

torch.set_num_threads(1)
NEW_TOKENS = 10
PROMPTS = [
    ("pixmo-count", 0),
    ("molmo2-capqa", 0),
    ("tulu", 0),
    ("tallyqa", 1),
    ("molmo2-cap", 1),
    ("pixmo-points", 2),
]


@pytest.fixture(scope="module")
def net() -> Any:
    """Weights far enough apart that no two logits are nearly equal."""
    net = model(seed=4)
    with torch.no_grad():
        net.lm_head.weight.mul_(20)
    return net.eval()


def answers(net: Any, prompts: list[Sample], new_tokens: int = NEW_TOKENS) -> list[str]:
    return generate(net, prompts, tokens(), GEOMETRY, max_new_tokens=new_tokens)


@torch.inference_mode()
def step_by_step(net: Any, of: Sample, new_tokens: int = NEW_TOKENS) -> tuple[str, float]:
    """Argmax of the full forward under the dense mask of the prompt; and the least lead of a chosen token."""
    pack = collate([of], length=len(of.tree), pad=tokens().pad, geometry=GEOMETRY)
    ids, visual = pack.input_ids.tolist(), pack.visual_flags.tolist()
    inputs = {}
    if len(pack.visual.grids):
        inputs = {
            "pixel_values": normalise_patches(torch.from_numpy(pack.visual.patches)),
            "image_token_pooling": torch.from_numpy(pack.visual.pooling),
            "image_grids": torch.from_numpy(pack.visual.grids),
        }
    lead = float("inf")
    for _ in range(new_tokens):
        zeros = np.zeros(len(ids), dtype=np.int64)
        mask = torch.from_numpy(allowed(zeros, zeros, np.array(visual)))
        logits = net(
            input_ids=torch.tensor([ids]),
            position_ids=torch.arange(len(ids))[None],
            attention_mask=mask[None, None],
            mm_token_type_ids=torch.tensor([visual]).long(),
            use_cache=False,
            **inputs,
        ).logits[0, -1]
        best = logits.topk(2).values
        lead = min(lead, float(best[0] - best[1]))
        ids.append(int(logits.argmax()))
        visual.append(False)
        if ids[-1] == tokens().eos:
            break
    return tokens().tokenizer.decode(ids[len(of.tree) :], skip_special_tokens=True), lead


def test_generation_is_the_argmax_of_the_full_forward(net: Any) -> None:
    for name, index in PROMPTS:
        wanted, lead = step_by_step(net, prompt(name, index))
        assert lead > 1e-3, "the test would hang on rounding"
        assert answers(net, [prompt(name, index)]) == [wanted], name


def test_a_batch_of_many_answers_like_batches_of_one(net: Any) -> None:
    prompts = [prompt(name, index) for name, index in PROMPTS]
    assert len({len(one.tree) for one in prompts}) > 3, "the shorter ones are padded"
    alone = [answers(net, [one])[0] for one in prompts]
    assert answers(net, prompts) == alone
    assert answers(net, prompts[::-1]) == alone[::-1]
    assert len(set(alone)) > 3, "the answers differ, so a mixed-up order would be seen"


def test_padding_beyond_the_longest_changes_nothing(net: Any) -> None:
    """The left padding of text beside a long clip, and of a clip beside text."""
    text, clip = prompt("tulu", 1), prompt("molmo2-cap", 0)
    assert answers(net, [text, clip]) == [answers(net, [text])[0], answers(net, [clip])[0]]


def test_the_picture_is_seen(net: Any) -> None:
    """Negative control: with the pixels of another image the answer is another one."""
    sound = prompt("pixmo-count", 0)
    inverted = replace(sound, media=tuple(replace(m, patches=-m.patches) for m in sound.media))
    assert answers(net, [sound]) != answers(net, [inverted])


def test_the_number_of_tokens_is_bounded_and_specials_are_left_out(net: Any) -> None:
    text = answers(net, [prompt("tulu", 0)], new_tokens=3)[0]
    assert len(tokens().encode(text)) <= 3 or text == ""
    assert "<|" not in text


def test_generation_stops_at_the_end_of_the_turn(net: Any) -> None:
    calls = 0

    def end_the_third(_module: Any, _inputs: Any, logits: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 3:
            logits[..., tokens().eos] = 1e6
        return logits

    handle = net.lm_head.register_forward_hook(end_the_third)
    try:
        stopped = answers(net, [prompt("tulu", 0)])
    finally:
        handle.remove()
    assert calls == 3
    assert stopped == answers(net, [prompt("tulu", 0)], new_tokens=2)


def test_the_model_is_left_as_it_was(net: Any) -> None:
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    answers(net, [prompt("tulu", 0)])
    assert not net.training
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
