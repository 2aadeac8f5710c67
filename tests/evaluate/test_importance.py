from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from tests.models.knob_models import DEPTH, logits, made, tokens
from tests.tiny_molmo2 import GEOMETRY, VIDEO, prompt
from tests.tiny_molmo2 import model as tiny_model
from tests.tiny_molmo2 import tokens as tiny_tokens
from trackyard.errors import DataError
from trackyard.evaluate.answering.molmo2 import Molmo2Subject
from trackyard.evaluate.importance import (
    BlockImportance,
    answer_losses,
    block_importance,
    read_importance,
    write_importance,
)
from trackyard.models.knobs import decoder_blocks, kept_blocks


def _next_token_losses(model: Any) -> list[float]:
    ids = tokens()
    losses = cross_entropy(logits(model)[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    return [float(loss) for loss in losses.view(2, -1).mean(dim=1)]


def test_a_score_is_the_mean_rise_of_the_loss_without_that_block() -> None:
    model = made("llama")
    found = block_importance(lambda: _next_token_losses(model), model)
    assert found[0] is None
    assert found[-1] is None
    whole = sum(_next_token_losses(model)) / 2
    for skipped in range(1, DEPTH - 1):
        with kept_blocks(model, set(range(DEPTH)) - {skipped}):
            assert found[skipped] == pytest.approx(sum(_next_token_losses(model)) / 2 - whole, abs=1e-9)
    assert len({score for score in found if score is not None}) == DEPTH - 2
    assert block_importance(lambda: _next_token_losses(model), model) == found, "the same twice"


def test_a_block_that_does_nothing_has_no_importance() -> None:
    model = made("llama")
    idle: Any = decoder_blocks(model)[2]
    with torch.no_grad():
        idle.self_attn.o_proj.weight.zero_()
        idle.mlp.down_proj.weight.zero_()
    assert block_importance(lambda: _next_token_losses(model), model)[2] == 0.0


@pytest.mark.parametrize("losses", [[], [1.0, math.nan], [1.0, math.inf]])
def test_losses_that_are_none_are_refused(losses: list[float]) -> None:
    with pytest.raises(DataError, match="with all blocks"):
        block_importance(lambda: losses, made("llama"))


def test_other_questions_for_another_block_are_refused() -> None:
    counted = iter([3, 3, 2])
    with pytest.raises(DataError, match="2 losses with block 2 skipped, expected 3"):
        block_importance(lambda: [1.0] * next(counted), made("llama"))


def _subject() -> Molmo2Subject:
    return Molmo2Subject(tiny_model(), tiny_tokens(), GEOMETRY, VIDEO)


def test_losses_of_right_answers_are_those_of_one_pass_over_prompt_and_answer() -> None:
    subject = _subject()
    asked = [
        (subject.prompt_of(prompt("a-okvqa", 0)), [20, 31, 42, subject.tokens.eos]),
        (subject.prompt_of(prompt("tulu", 1)), [17]),
        (subject.prompt_of(prompt("vqa-v2", 2)), [50, 60]),
    ]
    found = answer_losses(subject, asked)
    assert found == pytest.approx(answer_losses(subject, asked, batch=1), rel=1e-5)
    for (made_prompt, answer), loss in zip(asked, found, strict=True):
        with torch.inference_mode():
            table = subject.model.get_input_embeddings()
            embeddings = torch.cat([subject.embeddings([made_prompt]), table(torch.tensor([answer]))], dim=1)
            flags = torch.cat([torch.from_numpy(made_prompt.blocks >= 0), torch.zeros(len(answer), dtype=torch.bool)])
            whole = subject.model(inputs_embeds=embeddings, mm_token_type_ids=flags[None].long()).logits[0]
            rows = whole[len(made_prompt) - 1 : -1]
            wanted = cross_entropy(rows, torch.tensor(answer))
        assert loss == pytest.approx(float(wanted), rel=1e-4)


def test_an_answer_without_tokens_has_no_loss() -> None:
    subject = _subject()
    with pytest.raises(DataError, match="right answer 1 of 2"):
        answer_losses(subject, [(subject.prompt_of(prompt("tulu", 0)), ids) for ids in ([5], [])])


def test_importance_of_a_multimodal_model_is_measured_by_its_right_answers() -> None:
    subject = _subject()
    asked = [(subject.prompt_of(prompt("a-okvqa", index)), [20 + index, subject.tokens.eos]) for index in range(3)]
    found = block_importance(lambda: answer_losses(subject, asked), subject.model)
    assert [score is None for score in found] == [True, False, False, True]


def _importance() -> BlockImportance:
    return BlockImportance(model="m1", questions="q1", scores=(None, 0.25, -0.001, None))


def test_scores_are_read_as_they_were_written_under_a_fingerprint_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    write_importance(path, _importance())
    found = read_importance(path, model="m1", blocks=4)
    assert found == _importance()
    assert found.fingerprint == _importance().fingerprint
    others = [
        BlockImportance(model="m2", questions="q1", scores=_importance().scores),
        BlockImportance(model="m1", questions="q2", scores=_importance().scores),
        BlockImportance(model="m1", questions="q1", scores=(None, 0.25, -0.002, None)),
    ]
    assert len({each.fingerprint for each in (*others, found)}) == 4


@pytest.mark.parametrize(("model", "blocks"), [("m2", 4), ("m1", 5)])
def test_scores_of_another_model_are_refused(tmp_path: Path, model: str, blocks: int) -> None:
    write_importance(tmp_path / "scores.json", _importance())
    with pytest.raises(DataError, match="scores 4 blocks of the model m1") as refused:
        read_importance(tmp_path / "scores.json", model=model, blocks=blocks)
    assert f"{blocks} blocks of {model}" in refused.value.what


def test_without_a_file_or_after_an_edit_there_are_no_scores(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    with pytest.raises(DataError, match="does not exist") as refused:
        read_importance(path, model="m1", blocks=4)
    assert "trackyard run nine importance" in refused.value.fix
    write_importance(path, _importance())
    path.write_text(path.read_text().replace("0.25", "0.26"))
    with pytest.raises(DataError, match="altered"):
        read_importance(path, model="m1", blocks=4)
