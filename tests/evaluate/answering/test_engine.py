"""Continuous batching: answers of `generate` one at a time, whatever the batch, the order and the memory."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluate.answering.families import FAMILIES, case, causal, molmo2, stock_answer, tokens_of
from trackyard.errors import ConfigError, EnvironmentLacking
from trackyard.evaluate.answering import engine
from trackyard.evaluate.answering.engine import AHEAD, answer
from trackyard.evaluate.answering.prompt import Prompt

BATCHES = (1, 2, 7, 32)


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_those_of_generate_at_every_batch_and_order(family: str) -> None:
    subject, prompts = case(family)
    wanted = {key: stock_answer(subject, prompt, cap) for key, prompt, cap in prompts}
    assert len(set(wanted.values())) > 5, "answers differ, so mixed-up rows would be seen"
    assert len({len(tokens) for tokens in wanted.values()}) > 2, "rows leave at different steps"
    assert len({len(prompt) for _, prompt, _ in prompts}) > 1, "shorter ones are padded"
    for batch in BATCHES:
        order = random.Random(batch).sample(prompts, len(prompts)) if batch > 1 else prompts
        assert tokens_of(list(answer(subject, order, batch=batch))) == wanted, f"batch {batch}"


@settings(max_examples=12)
@given(order=st.permutations(range(10)), batch=st.integers(1, 12), caps=st.lists(st.integers(1, 9), min_size=10))
def test_any_order_batch_and_caps_give_beginnings_of_the_same_answers(
    order: list[int], batch: int, caps: list[int]
) -> None:
    subject, prompts = case("llama")
    whole = _llama_answers()
    asked = [(key, prompts[key][1], caps[key]) for key in order]
    found = tokens_of(list(answer(subject, asked, batch=batch)))
    assert found == {key: whole[key][: caps[key]] for key in order}


def _llama_answers() -> dict[int, tuple[int, ...]]:
    if not _WHOLE:
        subject, prompts = case("llama")
        _WHOLE.update({key: stock_answer(subject, prompt, 9) for key, prompt, _ in prompts})
    return _WHOLE


_WHOLE: dict[int, tuple[int, ...]] = {}


def test_padding_that_is_not_masked_changes_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: the comparison above notices an engine that lets rows see their padding."""
    subject, prompts = case("molmo2")
    right = tokens_of(list(answer(subject, prompts, batch=7)))
    monkeypatch.setattr(subject, "_step_masks", lambda mask: torch.ones_like(mask)[:, None, None])
    assert tokens_of(list(answer(subject, prompts, batch=1))) == right, "there is no padding"
    assert tokens_of(list(answer(subject, prompts, batch=7))) != right


def test_pictures_are_seen_and_belong_to_their_own_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: with the pictures of each other, rows answer otherwise."""
    for family in ("molmo2", "gemma"):
        subject, prompts = case(family)
        right = tokens_of(list(answer(subject, prompts, batch=7)))
        true_first = subject.first
        monkeypatch.setattr(subject, "first", lambda of, made, cache, run=true_first: run(of, made.flip(0), cache))
        assert tokens_of(list(answer(subject, prompts, batch=7))) != right


def test_how_an_answer_ended_is_told() -> None:
    subject, prompts = case("molmo2")
    capped = ended = 0
    for key, found in answer(subject, prompts, batch=4):
        _, prompt, cap = prompts[key]
        assert found.n_prompt == len(prompt)
        assert found.n_visual == int(prompt.visual.sum())
        assert 1 <= len(found.tokens) <= cap
        assert not set(found.tokens[:-1]) & subject.eos, "nothing follows the end"
        assert found.hit_cap == (found.tokens[-1] not in subject.eos)
        assert not found.hit_cap or len(found.tokens) == cap
        capped, ended = capped + found.hit_cap, ended + (not found.hit_cap)
    assert capped
    assert ended


def test_a_forced_length_has_no_end_token() -> None:
    subject, prompts = case("qwen3")
    natural = tokens_of(list(answer(subject, prompts, batch=3)))
    for key, found in answer(subject, prompts, batch=3, forced=True):
        assert len(found.tokens) == prompts[key][2]
        assert found.hit_cap
        assert not set(found.tokens) & subject.eos
        kept = natural[key][:-1] if natural[key][-1] in subject.eos else natural[key]
        assert found.tokens[: len(kept)] == kept


def test_prompts_are_asked_for_as_places_become_free() -> None:
    subject, prompts = case("gpt_neox")
    batch, asked, done = 3, 0, 0

    def many() -> Iterator[tuple[int, Prompt, int]]:
        nonlocal asked
        for number in range(60):
            asked += 1
            assert asked - done <= (AHEAD + 2) * batch, "memory grows with the task"
            yield number, prompts[number % len(prompts)][1], 4

    for _ in answer(subject, many(), batch=batch):
        done += 1
    assert done == asked == 60


def test_prompts_read_together_are_bounded_in_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    subject, prompts = case("molmo2")
    wanted = tokens_of(list(answer(subject, prompts, batch=7)))
    limit = max(len(prompt) for _, prompt, _ in prompts) - 1
    true_first = subject.first
    sizes: list[tuple[int, ...]] = []

    def noting(of: Any, embeddings: torch.Tensor, cache: Any) -> torch.Tensor:
        sizes.append(tuple(embeddings.shape[:2]))
        return true_first(of, embeddings, cache)

    monkeypatch.setattr(subject, "first", noting)
    monkeypatch.setattr(engine, "READ_AT_ONCE", limit)
    assert tokens_of(list(answer(subject, prompts, batch=7))) == wanted
    assert all(rows == 1 or rows * length <= limit for rows, length in sizes)
    assert any(length > limit for _, length in sizes), "a longer one is read alone"
    assert any(rows > 1 for rows, _ in sizes)


def test_equal_logits_give_the_lowest_id(monkeypatch: pytest.MonkeyPatch) -> None:
    subject, prompts = case("llama")

    def level(ids: Any, *_: Any) -> torch.Tensor:
        logits = torch.zeros((len(ids), 528))
        logits[:, [7, 8, 400]] = 1.0
        return logits

    monkeypatch.setattr(subject, "next", level)
    for _, found in answer(subject, prompts[:1], batch=1, forced=True):
        assert set(found.tokens[1:]) == {7}


class _Narrow:
    """Stands for `Subject.embeddings` and `next` on a device that holds so many rows at a time."""

    def __init__(self, subject: Any, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows, self.refused, self.steps = rows, 0, 0
        self._embeddings, self._next = subject.embeddings, subject.next
        monkeypatch.setattr(subject, "embeddings", self.embeddings)
        monkeypatch.setattr(subject, "next", self.next)

    def _count(self, rows: int) -> None:
        if rows > self.rows:
            self.refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory (pretended)")

    def embeddings(self, prompts: Any) -> torch.Tensor:
        self._count(len(prompts))
        found: torch.Tensor = self._embeddings(prompts)
        return found

    def next(self, ids: torch.Tensor, *rest: Any) -> torch.Tensor:
        self._count(len(ids))
        found: torch.Tensor = self._next(ids, *rest)
        self.steps += 1
        # Every layer has grown, and the answer is lost: nothing of the cache may be used again.
        if self.steps == 3:
            self.refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory (pretended)")
        return found


def test_without_memory_the_batch_is_halved_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    subject, prompts = case("molmo2")
    wanted = tokens_of(list(answer(subject, prompts, batch=8)))
    narrow = _Narrow(subject, 4, monkeypatch)
    told: list[int] = []
    found = list(answer(subject, prompts, batch=8, on_smaller=told.append))
    assert narrow.refused == len(told) >= 2
    assert told == [4, 2, 1][: len(told)]
    assert len(found) == len(prompts), "each is answered once"
    assert tokens_of(found) == wanted


def test_one_prompt_without_memory_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    subject, prompts = case("molmo2")
    _Narrow(subject, 0, monkeypatch)
    with pytest.raises(EnvironmentLacking, match=f"no memory for one prompt of {len(prompts[0][1])} tokens"):
        list(answer(subject, prompts, batch=4))


def test_a_batch_or_a_cap_of_none_is_refused() -> None:
    subject, prompts = case("llama")
    with pytest.raises(ConfigError, match="a batch of 0"):
        list(answer(subject, prompts, batch=0))
    with pytest.raises(ConfigError, match="at most 0 new tokens for 'x'"):
        list(answer(subject, [("x", prompts[0][1], 0)], batch=1))
    assert list(answer(subject, [], batch=1)) == []


def test_padding_that_is_seen_makes_other_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    subject, prompts = case("molmo2")
    alone = dict(answer(subject, prompts, batch=1))
    assert dict(answer(subject, prompts, batch=7)) == alone
    monkeypatch.setattr(subject, "_step_masks", lambda mask: torch.ones_like(mask)[:, None, None])
    together = dict(answer(subject, prompts, batch=7))
    other = sum(together[key] != alone[key] for key in alone)
    assert 0 < other < len(alone), "rows without padding answer as before"


def test_skipped_blocks_write_nothing_and_rows_still_join() -> None:
    from trackyard.models.knobs import decoder_blocks, kept_blocks

    subject, prompts = molmo2(), case("molmo2")[1]
    depth = len(decoder_blocks(subject.model))
    if depth < 3:
        subject, prompts = _deep(), case("llama")[1]
        depth = 4
    whole = tokens_of(list(answer(subject, prompts, batch=7)))
    with kept_blocks(subject.model, [0, *range(2, depth)]):
        alone = tokens_of(list(answer(subject, prompts, batch=1)))
        assert tokens_of(list(answer(subject, prompts, batch=7))) == alone != whole
    assert tokens_of(list(answer(subject, prompts, batch=7))) == whole


def _deep() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    from trackyard.evaluate.answering.causal import CausalSubject

    of = causal("llama")
    config = LlamaConfig(**(of.model.config.to_dict() | {"num_hidden_layers": 4}))
    torch.manual_seed(5)
    return CausalSubject(LlamaForCausalLM(config), of.tokenizer, name="deep", digest="", eos=of.eos, pad=of.pad)
