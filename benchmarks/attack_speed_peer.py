"""Attacks one candidate and one document at a time: `attack_speed_peer.py LENGTH`, without trackyard's scoring.

Every candidate is put into the text, the text is encoded, and the model is run over all of it. The budget, the random
draws and the rules of the search are trackyard's, so that both must find the same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

from benchmarks.measured import cpu_seconds
from benchmarks.staying import Clock, say
from trackyard.evaluate.attacks.budgets import AttackBudget, generator

SEED = 0
VOCABULARY = 256
SPECIAL = 2
BUDGET = AttackBudget(
    restarts=1, iterations=4, candidates=16, opt_docs=16, eval_docs=16, flip_docs=16, query_docs=16, flips=4
)


def model() -> Any:
    """A random GPT-NeoX of the size that the acceptance checks use, with weights large enough for attacks to differ."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    config = GPTNeoXConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=128,
        initializer_range=0.3,
        max_position_embeddings=1024,
    )
    return GPTNeoXForCausalLM(config).eval()


def tokenizer() -> PreTrainedTokenizerFast:
    """A word a token, so that decoding and encoding again gives the same tokens."""
    words = {"<unk>": 0, "<eos>": 1} | {f"w{number:03}": number for number in range(SPECIAL, VOCABULARY)}
    core = Tokenizer(models.WordLevel(vocab=words, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", eos_token="<eos>")


def documents(length: int) -> dict[str, list[int]]:
    """Documents by doc_id."""
    random = np.random.default_rng(SEED)
    return {f"doc-{number}": random.integers(SPECIAL, VOCABULARY, length).tolist() for number in range(16)}


class Loop:
    """The searches in plain code."""

    def __init__(self, length: int) -> None:
        self.model, self.tokenizer, self.documents = model(), tokenizer(), documents(length)
        self.embedding = self.model.get_input_embeddings().weight.detach()
        self.pool = torch.arange(SPECIAL, VOCABULARY)

    def losses(self, ids: list[int]) -> torch.Tensor:
        """Loss of each token but the first, of text that is encoded anew."""
        encoded = self.tokenizer(self.tokenizer.decode(ids), return_tensors="pt").input_ids
        with torch.no_grad():
            logits = self.model(encoded, use_cache=False).logits
        return torch.nn.functional.cross_entropy(logits[0, :-1], encoded[0, 1:], reduction="none")

    def gradient(self, ids: list[int], counted: torch.Tensor) -> torch.Tensor:
        inputs = self.embedding[ids][None].requires_grad_()
        logits = self.model(inputs_embeds=inputs, use_cache=False).logits
        losses = torch.nn.functional.cross_entropy(logits[0, :-1], torch.tensor(ids[1:]), reduction="none")
        return torch.autograd.grad((losses * counted).sum(), inputs)[0][0]

    def rise(self, original: list[int], clean: torch.Tensor, ids: list[int]) -> float:
        counted = torch.tensor([here == there for here, there in zip(ids[1:], original[1:], strict=True)])
        return float((self.losses(ids) - clean)[counted].double().mean())

    def uat(self) -> Any:
        chosen = generator(SEED, "uat").choice(np.arange(SPECIAL, VOCABULARY), BUDGET.trigger_tokens)
        trigger = [int(token) for token in chosen]
        clean = {doc_id: self.losses(ids) for doc_id, ids in self.documents.items()}

        def objective(tried: list[int]) -> float:
            rises = [
                float((self.losses(tried + ids)[len(tried) :] - clean[doc_id]).double().mean())
                for doc_id, ids in self.documents.items()
            ]
            return sum(rises) / len(rises)

        best = objective(trigger)
        for iteration in range(BUDGET.iterations):
            place = iteration % len(trigger)
            counted = torch.arange(1, len(trigger) + len(next(iter(self.documents.values())))) > len(trigger)
            slope = sum(self.gradient(trigger + ids, counted)[place] for ids in self.documents.values())
            scores = (self.embedding[self.pool] - self.embedding[trigger[place]]) @ slope
            scores[self.pool == trigger[place]] = -torch.inf
            found = []
            for token in self.pool[scores.topk(BUDGET.candidates).indices].tolist():
                found.append((objective([*trigger[:place], token, *trigger[place + 1 :]]), token))
            value, token = max(found)
            if value > best:
                best, trigger[place] = value, token
        return {"found": [trigger], "delta": [best]}

    def greedy(self) -> Any:
        answers, deltas = [], []
        for original in self.documents.values():
            clean, ids, value = self.losses(original), list(original), 0.0
            for _ in range(BUDGET.flips):
                same = torch.tensor(ids) == torch.tensor(original)
                slope = self.gradient(ids, same[1:])
                scores = slope @ self.embedding[self.pool].T - (slope * self.embedding[ids]).sum(dim=1)[:, None]
                scores[self.pool[None] == torch.tensor(ids)[:, None]] = -torch.inf
                scores[~same] = -torch.inf
                scores[-1] = -torch.inf
                found = []
                for flat in scores.flatten().topk(BUDGET.greedy_candidates).indices.tolist():
                    place, token = flat // len(self.pool), int(self.pool[flat % len(self.pool)])
                    tried = [*ids[:place], token, *ids[place + 1 :]]
                    found.append((self.rise(original, clean, tried), tried))
                value, ids = max(found)
            answers.append(ids)
            deltas.append(value)
        return {"found": answers, "delta": deltas}

    def query(self) -> Any:
        answers, deltas = [], []
        for doc_id, original in self.documents.items():
            random = generator(SEED, "query", doc_id=doc_id)
            places = sorted(random.choice(len(original), BUDGET.flips, replace=False).tolist(), reverse=True)
            tokens = random.choice(self.pool.numpy(), (BUDGET.flips, BUDGET.query_candidates)).tolist()
            clean, ids, best = self.losses(original), list(original), 0.0
            for place, candidates in zip(places, tokens, strict=True):
                for token in candidates:
                    tried = [*ids[:place], token, *ids[place + 1 :]]
                    value = self.rise(original, clean, tried)
                    if value > best:
                        best, ids = value, tried
            answers.append(ids)
            deltas.append(best)
        return {"found": answers, "delta": deltas}


ATTACKS = ("uat", "greedy", "query")
CANDIDATES = (
    BUDGET.iterations * BUDGET.candidates * BUDGET.opt_docs
    + BUDGET.flips * BUDGET.greedy_candidates * BUDGET.flip_docs
    + BUDGET.flips * BUDGET.query_candidates * BUDGET.query_docs
)
"""Candidates scored on a document in all searches: the unit of work."""


def serve_attacks(search: Callable[[str], Any]) -> None:
    """Say what all attacks find; then do them again for every line of the input, with the CPU seconds of each."""
    say({"answer": {name: search(name) for name in ATTACKS}})
    for _ in sys.stdin:
        clock, spent = Clock(), {}
        for name in ATTACKS:
            before = cpu_seconds()
            search(name)
            spent[name] = cpu_seconds() - before
        say(clock.report(CANDIDATES) | {"cpu_s_of": spent})


if __name__ == "__main__":
    loop = Loop(int(sys.argv[1]))
    serve_attacks(lambda name: getattr(loop, name)())
