import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trackyard.errors import DataError
from trackyard.evaluate.document_scores import DocumentScore, ScoredText, score_documents
from trackyard.evaluate.perplexity import by_component, summarise


def rng() -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=0))


class Uniform(torch.nn.Module):
    """The same logit for every entry of a vocabulary, whatever it is shown."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.logits_V = torch.nn.Parameter(torch.full((vocabulary,), 0.7))
        self.config = SimpleNamespace(max_position_embeddings=64)

    def forward(self, *, input_ids: torch.Tensor, use_cache: bool, logits_to_keep: int) -> SimpleNamespace:
        return SimpleNamespace(logits=self.logits_V.expand(len(input_ids), logits_to_keep, -1))


def score(number: int, predicted: int, per_token: float, component: str = "a") -> DocumentScore:
    return DocumentScore(
        id=f"d{number}",
        component=component,
        nll=per_token * predicted,
        predicted=predicted,
        bytes=4 * predicted + 4,
        windows=1,
    )


def test_uniform_logits_over_50304_rows() -> None:
    documents = [ScoredText(id=f"d{n}", component="a", ids=np.arange(n) * 1_000, bytes=4 * n) for n in (5, 30, 1, 12)]
    scores = score_documents(Uniform(50_304), documents, length=16, stride=8, batch=4)
    found = summarise(scores.documents, rng=rng(), resamples=10)
    assert found.ppl == pytest.approx(50_304, abs=0.1)
    assert (found.predicted_tokens, found.docs, found.windows) == (4 + 29 + 0 + 11, 4, 1 + 3 + 1 + 1)
    assert found.bpb == pytest.approx(math.log2(50_304) * 44 / (4 * 48), rel=1e-6)


def test_tokens_weigh_alike_and_not_documents() -> None:
    found = summarise([score(0, 100, 2.0), score(1, 10, 5.0)], rng=rng(), resamples=10)
    assert found.nll == pytest.approx(250 / 110)
    assert found.nll != pytest.approx((2.0 + 5.0) / 2)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 50), st.floats(0, 12), st.sampled_from("abc")), min_size=2, max_size=12))
def test_parts_sum_to_the_whole(values: list[tuple[int, float, str]]) -> None:
    documents = [score(i, *value) for i, value in enumerate(values) if value[0]]
    if not documents:
        return
    whole, parts = summarise(documents, rng=rng(), resamples=5), by_component(documents, rng=rng(), resamples=5)
    assert list(parts) == sorted({document.component for document in documents})
    assert whole.predicted_tokens == sum(part.predicted_tokens for part in parts.values())
    assert whole.docs == sum(part.docs for part in parts.values())
    total = sum(part.nll * part.predicted_tokens for part in parts.values())
    assert whole.nll == pytest.approx(total / whole.predicted_tokens, abs=1e-12)
    assert whole.ppl == math.exp(whole.nll)


def test_intervals_are_over_documents_with_something_to_predict() -> None:
    documents = [score(i, 5 + i, 2 + i / 10) for i in range(20)]
    found = summarise(documents, rng=rng())
    assert found.ci95 is not None
    assert found.ci95.low < found.nll < found.ci95.high
    # A document of one token is counted, and neither moves the mean nor leaves a resample without any token.
    more = summarise([*documents, *(score(100 + i, 0, 0.0) for i in range(50))], rng=rng())
    assert (more.nll, more.ci95, more.docs) == (found.nll, found.ci95, 70)
    assert summarise(documents[:1], rng=rng()).ci95 is None


def test_what_has_no_perplexity() -> None:
    for documents in ([], [score(0, 0, 0.0)]):
        with pytest.raises(DataError, match=f"over {len(documents)} documents with nothing to predict"):
            summarise(documents, rng=rng())
    with pytest.raises(DataError, match=r"a loss of 800\.0 nats per token"):
        summarise([score(0, 10, 800.0)], rng=rng())
