"""The trigger search finds the optimum where it is known, and improves only."""

from __future__ import annotations

import itertools

import pytest
import torch

from tests.evaluate.attacks.toys import BUDGET, MODELS, POOL, documents, neox, plain_losses
from trackyard.evaluate.attacks.budgets import generator
from trackyard.evaluate.attacks.controls import random_triggers
from trackyard.evaluate.attacks.masking import gradient_masking_suspected
from trackyard.evaluate.attacks.pool import TokenPool
from trackyard.evaluate.attacks.scoring import Scorer
from trackyard.evaluate.attacks.uat import search_trigger, universal_trigger


def plain_objective(net: object, trigger: tuple[int, ...], ids_NT: torch.Tensor) -> float:
    m = len(trigger)
    rows = torch.cat([torch.tensor(trigger).expand(len(ids_NT), -1), ids_NT], dim=1)
    return float((plain_losses(net, rows)[:, m + 1 :] - plain_losses(net, ids_NT)[:, 1:]).mean())


@pytest.mark.parametrize("name", MODELS)
def test_the_known_optimum_of_a_tiny_vocabulary_is_found(name: str) -> None:
    net, given, pool = MODELS[name], documents(3, length=8), TokenPool.of(range(5, 11))
    every = {pair: plain_objective(net, pair, given.ids_NT) for pair in itertools.product(pool.ids.tolist(), repeat=2)}
    budget = BUDGET.model_copy(update={"trigger_tokens": 2, "restarts": 6, "iterations": 8, "candidates": 5})
    found = search_trigger(Scorer(net), given, pool, budget, seed=1)
    assert found.ids == max(every, key=lambda pair: every[pair])
    assert found.objective == pytest.approx(every[found.ids], abs=2e-5)
    # One random start that is never improved would not do: the optimum is one pair of 36.
    assert found.objective > sorted(every.values())[-2]


def plain_search(net: object, ids_NT: torch.Tensor, start: tuple[int, ...]) -> tuple[tuple[int, ...], list[float]]:
    """The same search: a gradient per iteration, one candidate and one document at a time."""
    embedding, trigger, history = net.get_input_embeddings().weight.detach(), list(start), []  # type: ignore[attr-defined]
    best = plain_objective(net, start, ids_NT)
    for iteration in range(BUDGET.iterations):
        place = iteration % len(trigger)
        inputs = net.get_input_embeddings()(torch.cat([torch.tensor(trigger).expand(len(ids_NT), -1), ids_NT], dim=1))  # type: ignore[attr-defined]
        inputs = inputs.detach().requires_grad_()
        logits = net(inputs_embeds=inputs).logits[:, len(trigger) : -1]  # type: ignore[operator]
        loss = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids_NT[:, 1:], reduction="sum")
        gradient_D = torch.autograd.grad(loss, inputs)[0][:, place].sum(dim=0)
        others = [token for token in POOL.ids.tolist() if token != trigger[place]]
        ranked = sorted(others, key=lambda token: -float(embedding[token] @ gradient_D))[: BUDGET.candidates]
        tried = {
            token: plain_objective(net, (*trigger[:place], token, *trigger[place + 1 :]), ids_NT) for token in ranked
        }
        token = max(tried, key=lambda token: tried[token])
        if tried[token] > best:
            best, trigger[place] = tried[token], token
        history.append(best)
    return tuple(trigger), history


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("batch_tokens", [20, 4096])
def test_the_search_equals_one_candidate_and_one_document_at_a_time(name: str, batch_tokens: int) -> None:
    net, given = MODELS[name], documents(3)
    budget = BUDGET.model_copy(update={"restarts": 1})
    start = tuple(generator(7, "uat").choice(POOL.ids, budget.trigger_tokens).tolist())
    wanted, history = plain_search(net, given.ids_NT, start)
    found = search_trigger(Scorer(net, batch_tokens=batch_tokens), given, POOL, budget, seed=7)
    assert found.ids == wanted
    assert found.history == pytest.approx(history, abs=2e-5)
    assert list(found.history) == sorted(found.history)


def test_triggers_are_reported_on_other_documents_and_follow_from_the_seed() -> None:
    scorer, opt, held_out = Scorer(neox()), documents(3), documents(3, seed=9)
    found = universal_trigger(scorer, opt, held_out, POOL, BUDGET, seed=0)
    assert [record.doc_id for record in found.records] == list(held_out.doc_ids)
    assert found == universal_trigger(scorer, opt, held_out, POOL, BUDGET, seed=0)
    assert found.trigger_ids != universal_trigger(scorer, opt, held_out, POOL, BUDGET, seed=1).trigger_ids
    assert found.mean_delta_nats == pytest.approx(
        plain_objective(scorer.model, found.trigger_ids or (), held_out.ids_NT), abs=2e-5
    )
    assert all(record.positions == (0, 1, 2) and record.ids == found.trigger_ids for record in found.records)
    controls = random_triggers(scorer, held_out, POOL, BUDGET, seed=0)
    assert len({control.trigger_ids for control in controls}) == BUDGET.random_triggers
    assert not gradient_masking_suspected(found, *controls)
