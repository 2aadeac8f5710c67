"""The weighted loss against its formula written out, in fp32 whatever the logits are."""

from __future__ import annotations

import pytest
import torch

from trackyard.train.loss import Z_LOSS, answer_loss

torch.set_num_threads(1)


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
