"""The weighted loss against its formula written out, in fp32 whatever the logits are."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trackyard.train.loss import Z_LOSS, AnswerLoss, chunks_of
from trackyard.train.loss import answer_loss as of_hidden_states

torch.set_num_threads(1)


def answer_loss(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> AnswerLoss:
    """The loss of logits themselves."""
    return of_hidden_states(logits, torch.nn.Identity(), targets, weights)


def example(answers: int = 7, vocabulary: int = 11) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    chance = torch.Generator().manual_seed(0)
    logits = torch.randn(answers, vocabulary, generator=chance) * 4
    return logits, torch.randint(0, vocabulary, (answers,), generator=chance), torch.rand(answers, generator=chance)


def by_hand(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(loss, cross-entropy) in double precision from exponentials."""
    exact = logits.double()
    partition = exact.exp().sum(dim=1).log()
    entropy = partition - exact[torch.arange(len(targets)), targets]
    return (weights.double() * (entropy + 1e-4 * partition**2)).sum(), entropy


def test_the_formula() -> None:
    logits, targets, weights = example()
    loss = answer_loss(logits, targets, weights)
    total, entropy = by_hand(logits, targets, weights)
    assert Z_LOSS == 1e-4
    assert loss.total.item() == pytest.approx(total.item(), rel=1e-6)
    assert torch.allclose(loss.cross_entropy.double(), entropy, rtol=1e-5, atol=1e-5)
    assert torch.equal(loss.weight, weights)
    # Negative control: without its second term the loss is another one.
    assert abs((weights.double() * entropy).sum().item() - total.item()) > 1e-3


def test_the_gradient() -> None:
    logits, targets, weights = example()
    logits.requires_grad_()
    answer_loss(logits, targets, weights).total.backward()
    exact = logits.detach().double().requires_grad_()
    by_hand(exact, targets, weights)[0].backward()
    assert torch.allclose(logits.grad.double(), exact.grad, rtol=1e-4, atol=1e-6)  # type: ignore[union-attr, arg-type]


def test_half_precision_logits_are_summed_in_fp32() -> None:
    logits, targets, weights = example(vocabulary=5000)
    half = logits.bfloat16()
    loss = answer_loss(half, targets, weights)
    assert loss.total.dtype == loss.cross_entropy.dtype == torch.float32
    assert loss.total.item() == pytest.approx(by_hand(half, targets, weights)[0].item(), rel=1e-5)
    # Negative control: summing in bf16 would be off by far more.
    partition = torch.logsumexp(half, dim=-1)
    assert (partition.double() - torch.logsumexp(half.double(), dim=-1)).abs().max() > 1e-3


def test_what_is_reported_carries_no_graph() -> None:
    logits, targets, weights = example()
    loss = answer_loss(logits.requires_grad_(), targets, weights)
    assert loss.total.requires_grad
    assert not loss.cross_entropy.requires_grad


def test_no_answer_is_a_loss_of_zero_with_a_gradient() -> None:
    logits, targets, weights = example(answers=0)
    loss = answer_loss(logits.requires_grad_(), targets, weights)
    loss.total.backward()
    assert loss.total.item() == 0
    assert logits.grad is not None


# In pieces -----------------------------------------------------------------------------------------------------------


class Head(torch.nn.Linear):
    """A head that remembers how many rows of logits existed at once."""

    def __init__(self) -> None:
        super().__init__(6, 50, bias=False)
        self.seen: list[int] = []

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(hidden))
        return super().forward(hidden)


def by_pieces(answers: int, chunks: int) -> tuple[AnswerLoss, torch.Tensor, torch.Tensor, list[int]]:
    """Loss, gradients of hidden states and of the head, rows of logits at each use."""
    torch.manual_seed(0)
    head, hidden = Head(), torch.randn(answers, 6, requires_grad=True)
    targets, weights = torch.randint(0, 50, (answers,)), torch.rand(answers)
    loss = of_hidden_states(hidden, head, targets, weights, chunks=chunks)
    loss.total.backward()
    assert hidden.grad is not None
    assert head.weight.grad is not None
    return loss, hidden.grad, head.weight.grad, head.seen


@given(answers=st.integers(0, 40), chunks=st.integers(1, 9))
def test_pieces_give_the_loss_and_the_gradients_of_the_whole(answers: int, chunks: int) -> None:
    whole, pieces = by_pieces(answers, 1), by_pieces(answers, chunks)
    assert torch.allclose(pieces[0].total, whole[0].total, rtol=1e-5)
    assert torch.allclose(pieces[0].cross_entropy, whole[0].cross_entropy, rtol=1e-5)
    for one, other in zip(pieces[1:3], whole[1:3], strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)
    # At most a chunk of logits exists at once, and every rank uses the head as often, however many answers it has.
    assert max(pieces[3]) <= max(1, -(-answers // chunks))
    assert len(pieces[3]) == (chunks if chunks == 1 else 2 * chunks)


@pytest.mark.parametrize(
    ("tokens", "chunk", "wanted"), [(1, 2048, 1), (2048, 2048, 1), (2049, 2048, 2), (36_864, 1024, 36)]
)
def test_the_number_of_pieces_follows_from_shapes_alone(tokens: int, chunk: int, wanted: int) -> None:
    assert chunks_of(tokens, chunk) == wanted
