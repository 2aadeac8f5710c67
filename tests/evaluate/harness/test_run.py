"""An export is scored by the harness's stock backend; scores are those of what the model knows, and of nothing else."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import AutoModelForCausalLM

from tests.evaluate.harness.small_exports import (
    BOTH,
    Answering,
    constrained_export,
    is_right,
    made_items,
    text,
    tokenizer,
    watch_network,
)
from tests.models.tiny_families import logits
from trackyard.digest import digest_json
from trackyard.evaluate.document_scores import ScoredText, score_documents
from trackyard.evaluate.harness.definitions import DEFINITIONS
from trackyard.evaluate.harness.items import Items
from trackyard.evaluate.harness.run import run_on_export, run_on_model
from trackyard.models.nonneg import constrained_modules
from trackyard.recipes.pile_ffn.text.mini_corpus import document

LENGTH = 24
"""Positions of a window."""


def rolling(model: HFLM, texts: list[str]) -> list[float]:
    """Log-likelihood of each text by the harness's own windows."""
    return model.loglikelihood_rolling(
        [Instance("loglikelihood_rolling", {}, (each,), place) for place, each in enumerate(texts)], disable_tqdm=True
    )


def scored(model: torch.nn.Module, texts: list[str], *, length: int, stride: int) -> list[float]:
    """Negative log-likelihood of each text by ours, with the end of an earlier text before it."""
    documents = [
        ScoredText(id=str(place), component="a", ids=np.array([0, *tokenizer()(each)["input_ids"]]), bytes=len(each))
        for place, each in enumerate(texts)
    ]
    return [found.nll for found in score_documents(model, documents, length=length, stride=stride, batch=3).documents]


@pytest.mark.parametrize("family", BOTH)
def test_a_constrained_export_runs_on_the_stock_backend(
    tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    directory, live = constrained_export(tmp_path / "export", family)
    items = made_items(tmp_path / "items", 5)
    seen = watch_network(monkeypatch)
    capfd.readouterr()
    outcome = run_on_export(directory, items, device="cpu", batch=4, limit=3, positions=None)
    assert seen == []
    assert capfd.readouterr() == ("", "")
    assert list(outcome.tasks) == list(DEFINITIONS)
    assert outcome.absent == {}
    for name, found in outcome.tasks.items():
        assert (found.n, found.dataset, len(found.task_hash)) == (3, "made", 64)
        assert DEFINITIONS[name].metric in found.metrics
        values = [sample.metrics for sample in outcome.samples if sample.task == name]
        # What the items say is what the figure says.
        assert found.metrics["acc"].value == pytest.approx(np.mean([value["acc"] for value in values]))
        assert found.metrics["acc"].stderr == pytest.approx(
            np.std([value["acc"] for value in values], ddof=1) / math.sqrt(3)
        )
    # Folded and parametrised models are one: by their logits, and by the harness's scores of the latter.
    folded = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    assert (len(constrained_modules(folded)), len(constrained_modules(live))) == (0, {"gpt_neox": 4}.get(family, 6))
    assert (logits(folded) - logits(live)).abs().max() <= 1e-5
    again = run_on_model(HFLM(pretrained=live, tokenizer=tokenizer(), batch_size=4), items, limit=3)
    for first, second in zip(outcome.samples, again.samples, strict=True):
        assert (first.task, first.doc_id, first.item) == (second.task, second.doc_id, second.item)
        assert first.loglikelihoods == pytest.approx(second.loglikelihoods, abs=1e-4)
    assert {name: found.task_hash for name, found in again.tasks.items()} == {
        name: found.task_hash for name, found in outcome.tasks.items()
    }


@pytest.mark.parametrize("family", BOTH)
def test_perplexity_is_that_of_the_harness_on_the_same_windows(tmp_path: Path, family: str) -> None:
    directory, _ = constrained_export(tmp_path, family)
    backend = HFLM(
        pretrained=str(directory), tokenizer=tokenizer(), dtype="float32", device="cpu", batch_size=2, max_length=LENGTH
    )
    texts = [text(LENGTH * windows, seed=windows) for windows in (1, 2, 5)]
    # A window of ours is one token longer than its inputs, and the next one begins where it ended.
    found = scored(backend.model, texts, length=LENGTH + 1, stride=LENGTH)
    tokens = LENGTH * 8
    assert math.exp(sum(found) / tokens) == pytest.approx(math.exp(-sum(rolling(backend, texts)) / tokens), abs=1e-4)
    for ours, theirs in zip(found, rolling(backend, texts), strict=True):
        assert ours == pytest.approx(-theirs, abs=1e-4)
    # Negative control: other windows of the same text are another number.
    overlapping = scored(backend.model, texts, length=LENGTH + 1, stride=LENGTH // 2)
    assert abs(overlapping[2] - found[2]) > 1e-3


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Items]:
    return made_items(tmp_path_factory.mktemp("many") / "made", 150)


def test_who_knows_the_answers_scores_one(items: dict[str, Items]) -> None:
    knowing = Answering(lambda asked: 0.0 if is_right(asked) else -1000.0, greedy=True)
    outcome = run_on_model(knowing, items, limit=60)
    for name, found in outcome.tasks.items():
        assert found.metrics[DEFINITIONS[name].metric].value == 1.0, name
    assert outcome.tasks["lambada_openai"].metrics["perplexity"].value == 1.0


def test_who_knows_nothing_scores_by_chance(items: dict[str, Items]) -> None:
    blind = Answering(lambda asked: -int(digest_json([asked.task_name, list(asked.args)])[:6], 16) / 2**23)
    outcome = run_on_model(blind, items, limit=None)
    expected = {"hellaswag": 0.25, "winogrande": 0.5, "truthfulqa_mc1": 0.25, "truthfulqa_mc2": 0.4}
    for name, found in outcome.tasks.items():
        assert (found.n, found.chance) == (150, pytest.approx(expected[name]) if name in expected else None)
        if found.chance is not None:
            figure = found.metrics["acc"]
            assert figure.stderr is not None
            assert abs(figure.value - found.chance) < 4 * figure.stderr, name
    assert outcome.tasks["lambada_openai"].metrics["acc"].value == 0.0


def test_who_read_the_corpus_is_better_than_chance(items: dict[str, Items]) -> None:
    """Pairs of words, counted in one training file of the mini corpus."""
    pairs: dict[str, Counter[str]] = defaultdict(Counter)
    for number in range(200):
        words = document(0, "train/00.jsonl.zst", number).text.split()
        for first, second in pairwise(words):
            pairs[first][second] += 1

    def likelihood(asked: Instance) -> float:
        context, answer = asked.args
        words = [context.split()[-1], *answer.split()]
        return sum(
            math.log((pairs[first][second] + 0.1) / (pairs[first].total() + 100)) for first, second in pairwise(words)
        )

    found = run_on_model(Answering(likelihood), {"hellaswag": items["hellaswag"]}, limit=100).tasks["hellaswag"]
    assert found.metrics["acc_norm"].value > 0.6


def test_the_hash_tells_other_items(tmp_path: Path) -> None:
    hashes = []
    for seed in (0, 0, 1):
        place = tmp_path / str(len(hashes))
        place.mkdir()
        chosen = {"hellaswag": made_items(place / "made", 4, seed=seed)["hellaswag"]}
        hashes.append(run_on_model(Answering(lambda asked: 0.0), chosen, limit=None).tasks["hellaswag"].task_hash)
    assert hashes[0] == hashes[1] != hashes[2]


def test_an_answer_that_does_not_fit_is_absent_with_the_reason(tmp_path: Path, items: dict[str, Items]) -> None:
    directory, _ = constrained_export(tmp_path, "gpt_neox")
    backend = HFLM(pretrained=str(directory), dtype="float32", device="cpu", batch_size=4, max_length=7)
    chosen = {name: items[name] for name in ("hellaswag", "lambada_openai")}
    outcome = run_on_model(backend, chosen, limit=4)
    assert list(outcome.tasks) == ["lambada_openai"]
    assert outcome.absent == {"hellaswag": "an answer of item 0 has 8 tokens, the model 7 positions"}
    assert {sample.task for sample in outcome.samples} == {"lambada_openai"}
    alone = run_on_model(backend, {"hellaswag": items["hellaswag"]}, limit=4)
    assert (alone.tasks, alone.samples) == ({}, ())
