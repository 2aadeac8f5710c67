"""Flips are those of a search that scores every candidate alone, in plain code."""

from __future__ import annotations

import pytest
import torch

from tests.evaluate.attacks.toys import BUDGET, LENGTH, MODELS, POOL, documents, plain_losses
from trackyard.errors import ConfigError
from trackyard.evaluate.attacks.hotflip import greedy, one_shot
from trackyard.evaluate.attacks.scoring import Scorer


def plain_gradient(net: object, ids_T: torch.Tensor, flipped: set[int]) -> torch.Tensor:
    """Gradient [T, D] of the summed loss of targets that were not flipped."""
    inputs = net.get_input_embeddings()(ids_T[None]).detach().requires_grad_()  # type: ignore[attr-defined]
    logits = net(inputs_embeds=inputs).logits[0, :-1]  # type: ignore[operator]
    losses = torch.nn.functional.cross_entropy(logits, ids_T[1:], reduction="none")
    kept = torch.tensor([place not in flipped for place in range(1, len(ids_T))])
    return torch.autograd.grad((losses * kept).sum(), inputs)[0][0]


def plain_delta(net: object, original_T: torch.Tensor, attacked_T: torch.Tensor) -> float:
    clean, found = plain_losses(net, torch.stack([original_T, attacked_T]))
    kept = [place for place in range(1, len(original_T)) if original_T[place] == attacked_T[place]]
    return float((found - clean)[kept].mean())


def plain_greedy(net: object, original_T: torch.Tensor) -> torch.Tensor:
    embedding = net.get_input_embeddings().weight.detach()  # type: ignore[attr-defined]
    ids_T, flipped = original_T.clone(), set()
    for _ in range(BUDGET.flips):
        gradient_TD = plain_gradient(net, ids_T, flipped)
        scores = {
            (place, token): float((embedding[token] - embedding[ids_T[place]]) @ gradient_TD[place])
            for place in range(LENGTH - 1)
            for token in POOL.ids.tolist()
            if place not in flipped and token != ids_T[place]
        }
        tried = {}
        for place, token in sorted(scores, key=lambda flip: -scores[flip])[: BUDGET.greedy_candidates]:
            row_T = ids_T.clone()
            row_T[place] = token
            tried[place, token] = plain_delta(net, original_T, row_T)
        place, token = max(tried, key=lambda flip: tried[flip])
        ids_T[place] = token
        flipped.add(place)
    return ids_T


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("batch_tokens", [LENGTH, 4096])
def test_greedy_equals_one_candidate_at_a_time(name: str, batch_tokens: int) -> None:
    net, given = MODELS[name], documents(4)
    found = greedy(Scorer(net, batch_tokens=batch_tokens), given, POOL, BUDGET)
    for ids_T, record in zip(given.ids_NT, found.records, strict=True):
        wanted_T = plain_greedy(net, ids_T)
        places = (wanted_T != ids_T).nonzero()[:, 0].tolist()
        assert record.positions == tuple(places)
        assert record.ids == tuple(wanted_T[places].tolist())
        assert record.delta == pytest.approx(plain_delta(net, ids_T, wanted_T), abs=2e-5)


@pytest.mark.parametrize("name", MODELS)
def test_one_shot_flips_the_steepest_positions_to_their_best_tokens(name: str) -> None:
    net, given = MODELS[name], documents(4)
    found = one_shot(Scorer(net, batch_tokens=2 * LENGTH), given, POOL, BUDGET)
    embedding = net.get_input_embeddings().weight.detach()
    for ids_T, record in zip(given.ids_NT, found.records, strict=True):
        gradient_TD = plain_gradient(net, ids_T, set())
        places = sorted(gradient_TD.norm(dim=1).topk(BUDGET.flips).indices.tolist())
        assert record.positions == tuple(places)
        for place, token in zip(places, record.ids, strict=True):
            others = [other for other in POOL.ids.tolist() if other != ids_T[place]]
            assert token == max(others, key=lambda other: float(embedding[other] @ gradient_TD[place]))


def test_more_flips_than_a_document_can_take_are_refused() -> None:
    budget = BUDGET.model_copy(update={"flips": LENGTH - 1})
    for attack in (greedy, one_shot):
        with pytest.raises(ConfigError, match="13 flips in documents of 14 tokens"):
            attack(Scorer(MODELS["llama"]), documents(), POOL, budget)
    most = BUDGET.model_copy(update={"flips": LENGTH - 2})
    assert all(
        len(record.positions) == 12 for record in greedy(Scorer(MODELS["llama"]), documents(), POOL, most).records
    )
