import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM

from trackyard.errors import ConfigError, DataError, EnvironmentLacking
from trackyard.evaluate import document_scores
from trackyard.evaluate.document_scores import ScoredText, Window, score_documents, windows
from trackyard.evaluate.perplexity import summarise

SMALL = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def rng() -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=0))


class Stub(torch.nn.Module):
    """The logits of every position, whatever it is shown."""

    def __init__(self, logits_V: torch.Tensor, memory: int | None = None) -> None:
        super().__init__()
        self.logits_V = torch.nn.Parameter(logits_V)
        self.config = SimpleNamespace(max_position_embeddings=2048)
        self.memory, self.calls = memory, []

    def forward(self, *, input_ids: torch.Tensor, use_cache: bool, logits_to_keep: int) -> SimpleNamespace:
        self.calls.append(tuple(input_ids.shape))
        if self.memory is not None and len(input_ids) > self.memory:
            raise torch.OutOfMemoryError("tried to allocate 3 GiB")
        kept = len(range(input_ids.shape[1])[-logits_to_keep:])
        return SimpleNamespace(logits=self.logits_V.expand(len(input_ids), kept, -1))


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    """Untrained, with weights large enough that losses differ from place to place."""
    torch.manual_seed(0)
    return GPTNeoXForCausalLM(GPTNeoXConfig(**SMALL, initializer_range=0.4)).eval()


def texts(lengths: list[int], components: str = "ab") -> list[ScoredText]:
    draws = np.random.default_rng(5)
    return [
        ScoredText(
            id=f"d{i}", component=components[i % len(components)], ids=draws.integers(0, 61, length), bytes=4 * length
        )
        for i, length in enumerate(lengths)
    ]


LENGTHS = [3, 40, 17, 1, 90, 16, 33, 2, 64, 25]


@given(st.integers(1, 500), st.integers(2, 60), st.data())
def test_every_token_but_the_first_is_predicted_once(tokens: int, length: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, length - 1))
    found = windows(tokens, length=length, stride=stride)
    assert len(found) == (1 if tokens <= length else 1 + math.ceil((tokens - length) / stride))
    assert [place for window in found for place in range(window.first, window.stop)] == list(range(1, tokens))
    for k, window in enumerate(found):
        assert (window.start, window.stop) == (k * stride, min(k * stride + length, tokens))
        assert window.first > window.start


def test_windows_of_the_spec() -> None:
    assert windows(4_000, length=2048, stride=1024) == [
        Window(0, 2048, 1),
        Window(1024, 3072, 2048),
        Window(2048, 4000, 3072),
    ]


@pytest.mark.parametrize("stride", [0, 16, 17])
def test_a_stride_that_would_leave_tokens_out(stride: int) -> None:
    with pytest.raises(ConfigError, match=f"a stride of {stride} with windows of 16"):
        windows(40, length=16, stride=stride)


def reference(model: torch.nn.Module, document: ScoredText, length: int, stride: int) -> float:
    """Each position by itself, with the context that its window gives it."""
    total, ids = 0.0, torch.from_numpy(document.ids)
    for place in range(1, len(ids)):
        k = 0 if place < length else (place - length) // stride + 1
        with torch.no_grad():
            logits = model(input_ids=ids[None, k * stride : place]).logits[0, -1]
        total -= float(torch.log_softmax(logits, -1)[ids[place]])
    return total


@pytest.mark.parametrize("family", ["gpt_neox", "llama"])
def test_losses_are_those_of_each_token_alone(model: torch.nn.Module, family: str) -> None:
    if family == "llama":
        torch.manual_seed(0)
        model = LlamaForCausalLM(LlamaConfig(**SMALL, initializer_range=0.4)).eval()
    documents = texts([40, 7])
    scores = score_documents(model, documents, length=16, stride=6, batch=3).documents
    for score, document in zip(scores, documents, strict=True):
        assert score.nll == pytest.approx(reference(model, document, 16, 6), rel=1e-6)


@pytest.mark.parametrize("ahead", [1, 16])
def test_neither_batch_nor_padding_nor_order_matters(
    model: torch.nn.Module, ahead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One by one nothing is padded; eight at a time nearly everything is, and windows wait for their document."""
    monkeypatch.setattr(document_scores, "SORTED", ahead)
    documents = texts(LENGTHS)
    one = score_documents(model, documents, length=16, stride=8, batch=1).documents
    eight = score_documents(model, documents, length=16, stride=8, batch=8).documents
    assert [score.id for score in eight] == [document.id for document in documents]
    assert [score.predicted for score in eight] == [length - 1 for length in LENGTHS]
    for first, second in zip(one, eight, strict=True):
        assert abs(first.nll - second.nll) <= 1e-6 * max(1, first.predicted)
    means = [summarise(scores, rng=rng(), resamples=10).nll for scores in (one, eight)]
    assert abs(means[0] - means[1]) <= 1e-6


def test_another_pad_gives_the_same_to_the_last_bit(model: torch.nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    found = score_documents(model, texts(LENGTHS), length=16, stride=8, batch=8)
    monkeypatch.setattr(document_scores, "PAD", 7)
    assert score_documents(model, texts(LENGTHS), length=16, stride=8, batch=8) == found


def test_padding_on_the_other_side_would_matter(model: torch.nn.Module) -> None:
    """Negative control: the check above can fail."""
    ids = torch.from_numpy(texts([12])[0].ids)[None]
    shifted = torch.cat([torch.zeros(1, 4, dtype=torch.long), ids], dim=1)
    with torch.no_grad():
        change = model(input_ids=shifted).logits[0, 4:] - model(input_ids=ids).logits[0]
    assert change.abs().max() > 1e-3


def test_out_of_memory_halves_the_batch_and_loses_nothing() -> None:
    logits_V, documents = torch.linspace(-2, 3, 61), texts([length for length in LENGTHS if length > 1])
    expected = score_documents(Stub(logits_V), documents, length=16, stride=8, batch=8)
    stub = Stub(logits_V, memory=3)
    found = score_documents(stub, documents, length=16, stride=8, batch=8)
    assert (expected.batch, found.batch) == (8, 2)
    assert found.documents == expected.documents
    # Of the batches of 8 and 4 that failed, every window was computed again.
    fitted = [rows for rows, _ in stub.calls if rows <= 3]
    assert sum(fitted) == sum(score.windows for score in found.documents)
    assert [rows for rows, _ in stub.calls if rows > 3] == [8, 4]


def test_a_window_that_does_not_fit_is_an_error_and_not_left_out() -> None:
    with pytest.raises(EnvironmentLacking, match=r"one window of 16 tokens \(document d4\): tried to allocate 3 GiB"):
        score_documents(Stub(torch.zeros(61), memory=0), texts(LENGTHS)[4:5], length=16, stride=8, batch=8)


def test_a_window_may_be_one_token_longer_than_the_model(model: torch.nn.Module) -> None:
    """Windows that share one token: what lm-evaluation-harness does, where the last one is full."""
    document = texts([1 + 2 * 64])[0]
    found = score_documents(model, [document], length=65, stride=64, batch=1).documents[0]
    ids = torch.from_numpy(document.ids)
    with torch.no_grad():
        parts = [
            torch.nn.functional.cross_entropy(
                model(input_ids=ids[None, at : at + 64]).logits[0], ids[at + 1 : at + 65], reduction="sum"
            )
            for at in (0, 64)
        ]
    assert (found.windows, found.predicted) == (2, 128)
    assert found.nll == pytest.approx(float(sum(parts)), rel=1e-6)


def test_the_state_of_the_model_comes_back(model: torch.nn.Module) -> None:
    model.train()
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = score_documents(model, texts([20]), length=16, stride=8, batch=2)
        assert model.training
    finally:
        model.eval()
    assert mixed == score_documents(model, texts([20]), length=16, stride=8, batch=2)


def test_refusals(model: torch.nn.Module) -> None:
    half = GPTNeoXForCausalLM(GPTNeoXConfig(**SMALL)).to(torch.bfloat16)
    with pytest.raises(ConfigError, match=r"weights in torch\.bfloat16"):
        score_documents(half, texts([5]), length=16, stride=8, batch=1)
    with pytest.raises(ConfigError, match="windows of 66 tokens for a model of 64 positions"):
        score_documents(model, texts([5]), length=66, stride=64, batch=1)
    with pytest.raises(DataError, match="document d0 has no tokens"):
        score_documents(model, texts([0]), length=16, stride=8, batch=1)
    with pytest.raises(DataError, match="the loss of document d0 is nan"):
        score_documents(Stub(torch.full((61,), math.nan)), texts([5]), length=16, stride=8, batch=1)


def test_a_stream_is_read_no_further_than_needed() -> None:
    read = []

    def stream():
        for document in texts([20] * 200):
            read.append(document.id)
            yield document

    class Counting(Stub):
        def forward(self, **inputs):
            self.calls.append(len(read))
            return super().forward(**inputs)

    stub = Counting(torch.zeros(61))
    score_documents(stub, stream(), length=16, stride=8, batch=2)
    assert stub.calls[0] <= 2 * document_scores.SORTED
