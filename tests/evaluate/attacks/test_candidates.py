"""First-order choices equal those of trying every token at every position."""

from __future__ import annotations

import pytest
import torch

from tests.evaluate.attacks.toys import LENGTH, MODELS, POOL, documents
from trackyard.errors import DataError
from trackyard.evaluate.attacks.candidates import Ranking
from trackyard.evaluate.attacks.metric import counted_targets
from trackyard.evaluate.attacks.pool import TokenPool
from trackyard.evaluate.attacks.scoring import Scorer


@pytest.mark.parametrize("name", MODELS)
def test_choices_equal_the_exhaustive_gradient_score(name: str) -> None:
    net, ids_NT = MODELS[name], documents(3).ids_NT
    _, gradient_NTD = Scorer(net).gradients(ids_NT, counted_targets(ids_NT, ids_NT), leading=LENGTH - 1)
    embedding = net.get_input_embeddings().weight.detach()
    ranking = Ranking(embedding, POOL)
    allowed_NT = torch.ones(3, LENGTH - 1, dtype=torch.bool)
    allowed_NT[:, 4] = False
    flips = ranking.best_flips(ids_NT[:, :-1], gradient_NTD, allowed_NT, 8)
    for row in range(3):
        every = {}
        for place in range(LENGTH - 1):
            for token in POOL.ids.tolist():
                if allowed_NT[row, place] and token != ids_NT[row, place]:
                    step = embedding[token] - embedding[ids_NT[row, place]]
                    every[place, token] = float(step.double() @ gradient_NTD[row, place].double())
        wanted = sorted(every, key=lambda flip: -every[flip])[:8]
        found = list(zip(flips.positions_NK[row].tolist(), flips.tokens_NK[row].tolist(), strict=True))
        assert found == wanted
        assert flips.scores_NK[row].tolist() == pytest.approx([every[flip] for flip in wanted], rel=1e-3)
        best = max((every[0, token], token) for place, token in every if place == 0)[1]
        assert int(ranking.best_tokens(ids_NT[row, 0], gradient_NTD[row, 0], 1)) == best


def test_the_token_that_is_there_is_no_candidate() -> None:
    ranking = Ranking(torch.eye(3), TokenPool.of([0, 1, 2]))
    assert ranking.best_tokens(torch.tensor(0), torch.tensor([1.0, 0.0, 0.5]), 3).tolist() == [2, 1]
    assert ranking.best_tokens(torch.tensor(1), torch.tensor([1.0, 0.0, 0.5]), 1).tolist() == [0]


def test_a_pool_of_another_tokenizer_is_refused() -> None:
    with pytest.raises(DataError, match="the embedding has 39 rows"):
        Ranking(torch.zeros(39, 2), POOL)
