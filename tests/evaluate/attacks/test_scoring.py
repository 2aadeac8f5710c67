"""Losses are those of plain code, whatever was remembered, changed and batched."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluate.attacks.toys import LENGTH, MODELS, SLIDING, VOCABULARY, documents, neox, plain_losses
from trackyard.errors import ConfigError
from trackyard.evaluate.attacks.metric import counted_targets
from trackyard.evaluate.attacks.scoring import Remembered, Scorer

NETS = MODELS | {"sliding": SLIDING}


@pytest.mark.parametrize("name", NETS)
@settings(max_examples=8)
@given(data=st.data())
def test_changed_documents_have_the_losses_of_plain_code(name: str, data: st.DataObject) -> None:
    ids_NT = documents(3).ids_NT
    rows = data.draw(st.integers(1, 6))
    of_R = torch.tensor(data.draw(st.lists(st.integers(0, 2), min_size=rows, max_size=rows)))
    rows_RT = ids_NT[of_R].clone()
    for row in range(rows):
        for place in data.draw(st.lists(st.integers(0, LENGTH - 1), max_size=3)):
            rows_RT[row, place] = data.draw(st.integers(0, VOCABULARY - 1))
    scorer = Scorer(NETS[name], batch_tokens=data.draw(st.sampled_from([1, 2 * LENGTH, 4096])))
    kept = data.draw(st.integers(1, LENGTH - 1))
    whole, part = scorer.remember(ids_NT), scorer.gradients(ids_NT, counted_targets(ids_NT, ids_NT), leading=kept)[0]
    wanted_RT = plain_losses(NETS[name], rows_RT)
    for remembered in (whole, part):
        assert torch.allclose(scorer.losses(rows_RT, of_R, remembered).double(), wanted_RT, atol=2e-5)
    assert torch.allclose(scorer.exact(rows_RT).double(), wanted_RT, atol=2e-5)


@pytest.mark.parametrize("name", MODELS)
def test_only_what_follows_the_change_is_run_again(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer, ids_NT = Scorer(MODELS[name], batch_tokens=LENGTH), documents(1).ids_NT
    remembered = scorer.remember(ids_NT)
    rows_RT = ids_NT.clone()
    rows_RT[0, 9] = (rows_RT[0, 9] + 1) % VOCABULARY
    seen: list[int] = []
    run = scorer._run
    monkeypatch.setattr(scorer, "_run", lambda ids, **more: (seen.append(ids.numel()), run(ids, **more))[1])
    scorer.losses(rows_RT, torch.tensor([0]), remembered)
    assert torch.equal(scorer.losses(ids_NT, torch.tensor([0]), remembered), remembered.losses_NT)
    assert seen == [LENGTH - 1 - 8]


def test_a_sliding_window_is_never_reused_and_reuse_of_another_document_would_be_seen() -> None:
    ids_NT = documents(2).ids_NT
    assert Scorer(SLIDING).remember(ids_NT).kept is None
    scorer = Scorer(MODELS["llama"])
    first, second = scorer.remember(ids_NT[:1]), scorer.remember(ids_NT[1:])
    rows_RT = ids_NT[:1].clone()
    rows_RT[0, 6] = (rows_RT[0, 6] + 1) % VOCABULARY
    swapped = Remembered(ids_NT=first.ids_NT, losses_NT=first.losses_NT, kept=second.kept)
    wrong = scorer.losses(rows_RT, torch.tensor([0]), swapped).double()
    assert (wrong - plain_losses(MODELS["llama"], rows_RT)).abs().max() > 1e-2


@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_those_of_the_counted_losses(name: str) -> None:
    net, ids_NT = MODELS[name], documents(2).ids_NT
    counted_NT = counted_targets(ids_NT, ids_NT)
    counted_NT[:, 5] = False
    _, gradient_NTD = Scorer(net).gradients(ids_NT, counted_NT, leading=LENGTH - 1)
    inputs = net.get_input_embeddings()(ids_NT).detach().requires_grad_()
    losses = torch.nn.functional.cross_entropy(
        net(inputs_embeds=inputs).logits[:, :-1].transpose(1, 2), ids_NT[:, 1:], reduction="none"
    )
    (wanted,) = torch.autograd.grad((losses * counted_NT[:, 1:]).sum(), inputs)
    assert torch.allclose(gradient_NTD, wanted[:, :-1], atol=1e-4)
    assert not wanted[:, -1].any()
    assert all(weight.grad is None for weight in net.parameters())


def test_models_whose_losses_are_noise_are_refused() -> None:
    for net in (neox().train(), neox().bfloat16()):
        with pytest.raises(ConfigError, match="mode with weights in"):
            Scorer(net)
    torch.set_float32_matmul_precision("high")
    try:
        with pytest.raises(ConfigError, match="'high' precision"):
            Scorer(MODELS["llama"])
    finally:
        torch.set_float32_matmul_precision("highest")


def test_searching_may_round_and_reporting_does_not() -> None:
    ids_NT = documents(2).ids_NT
    rounding, exact = Scorer(MODELS["llama"], search=torch.bfloat16), Scorer(MODELS["llama"])
    assert torch.equal(rounding.exact(ids_NT), exact.exact(ids_NT))
    assert not torch.equal(rounding.remember(ids_NT).losses_NT, exact.remember(ids_NT).losses_NT)
    rows_RT = ids_NT.clone()
    rows_RT[:, 7] = (rows_RT[:, 7] + 1) % VOCABULARY
    found = rounding.losses(rows_RT, torch.arange(2), rounding.remember(ids_NT))
    assert torch.allclose(found, exact.exact(rows_RT), atol=0.2)
