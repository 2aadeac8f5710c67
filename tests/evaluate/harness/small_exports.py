"""What tests of the harness score: exports of tiny models with a tokenizer of whole words, and models that answer from
the item itself."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tests.models.tiny_families import VOCABULARY, tiny
from trackyard.digest import digest_file
from trackyard.evaluate.harness.definitions import DEFINITIONS
from trackyard.evaluate.harness.items import Items
from trackyard.models.nonneg import constrain
from trackyard.models.nonneg_export import EXACT, ROUNDED, fold, write_folded
from trackyard.models.nonneg_names import Form
from trackyard.recipes.pile_ffn.measures.made_benchmarks import write_made_benchmarks

END = "<end>"
WORDS = [END, *(f"w{number}" for number in range(1, VOCABULARY))]
BOTH = {"gpt_neox": "mlp_both", "llama": "gated_all", "qwen2": "gated_all"}
"""The variant of each family with the most matrices."""


def tokenizer() -> PreTrainedTokenizerFast:
    """A word, an id; words that it does not know end the text, as id 0 does."""
    backend = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token=END))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=END)


def constrained_export(directory: Path, family: str, form: Form = "nonneg") -> tuple[Path, Any]:
    """The exact export of a constrained model of random weights, and that model as it was before folding."""
    live, model = tiny(family), tiny(family)
    constrain(live, BOTH[family], form)
    fold(model, constrain(model, BOTH[family], form).declaration)
    write_folded(directory, model)
    for folder in (EXACT, ROUNDED):
        tokenizer().save_pretrained(directory / folder)
    return directory / EXACT, live


def text(words: int, seed: int = 0) -> str:
    """So many words at random."""
    drawn = torch.randint(1, VOCABULARY, (words,), generator=torch.Generator().manual_seed(seed))
    return " ".join(WORDS[number] for number in drawn.tolist())


def made_items(directory: Path, count: int, *, seed: int = 0) -> dict[str, Items]:
    """Items that the project makes, of every task."""
    write_made_benchmarks(directory, seed=seed, items=count)
    found = {}
    for task, definition in DEFINITIONS.items():
        place = directory / definition.entry
        files = {path.name: digest_file(path) for path in sorted(place.iterdir())}
        found[task] = Items(dataset="made", revision="0" * 40, directory=place, files=files)
    return found


class Answering(LM):
    """score: the log-likelihood of a choice, of the request that asks for it."""

    def __init__(self, score: Callable[[Instance], float], *, greedy: bool = False) -> None:
        super().__init__()
        self._score, self._greedy = score, greedy

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        return [(self._score(request), self._greedy) for request in requests]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        raise NotImplementedError

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        raise NotImplementedError


def is_right(request: Instance) -> bool:
    """Whether the choice that a request asks for is a right one, from the item's own labels."""
    item, place = request.doc, request.idx
    return {
        "lambada_openai": lambda: True,
        "hellaswag": lambda: place == int(item["label"]),
        "winogrande": lambda: place == int(item["answer"]) - 1,
        "truthfulqa_mc1": lambda: item["mc1_targets"]["labels"][place] == 1,
        "truthfulqa_mc2": lambda: item["mc2_targets"]["labels"][place] == 1,
    }[request.task_name]()


def watch_network(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Refuse every connection and name look-up, and note it: libraries may swallow the refusal."""
    seen: list[str] = []

    def refused(name: str) -> Callable[..., Any]:
        def refuse(*arguments: Any, **_: Any) -> Any:
            seen.append(f"{name} {arguments[1:] if name == 'connect' else arguments[:1]}")
            raise OSError("no network in this test")

        return refuse

    monkeypatch.setattr(socket.socket, "connect", refused("connect"))
    monkeypatch.setattr(socket, "getaddrinfo", refused("getaddrinfo"))
    return seen
