"""What the stages after training send through a model, in tokens. Nothing here was measured.

Bounds from above where the work depends on the text or on the search: every document is cut into overlapping windows,
every search goes on to its last iteration, and no keys and values are used twice.
Source: pile-ffn spec sections 3.2, 7, 8 and 9.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trackyard.estimate.devices import Device
from trackyard.estimate.scoring import scoring_rates
from trackyard.evaluate.attacks.budgets import AttackBudget
from trackyard.recipes.pile_ffn.parameters import BenchmarkParameters, PileFfnParameters
from trackyard.train.flops import Transformer, causal_pairs, decoder_work, step_flops

SEARCHED = ("hotflip_one_shot", "hotflip_greedy", "query")
"""Attacks on single documents whose search runs under autocast."""
NOISE_EVALUATIONS = 20
"""Of the validation set, at most, until a degraded model is matched."""
PROBE_SENTENCES, PROBE_TOKENS = 936, 64
CONTEXT = 128
"""Tokens of a benchmark's request, for its attention."""


@dataclass(frozen=True, slots=True)
class Task:
    """A benchmark. requests: continuations that are scored; tokens: of one with its context, rounded up; assumed."""

    items: int
    requests: int
    tokens: int


TASKS: Mapping[str, Task] = {
    "lambada_openai": Task(5_153, 1, 100),
    "hellaswag": Task(10_042, 4, 120),
    "winogrande": Task(1_267, 2, 32),
    "truthfulqa_mc1": Task(817, 5, 150),
    "truthfulqa_mc2": Task(817, 8, 150),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Passes:
    """Tokens through the model, a pass with a gradient counted as three.

    exact: in fp32 with TF32 off. search: under bf16 autocast on a GPU. length: of what is scored at once.
    """

    length: int
    exact: float = 0.0
    search: float = 0.0

    def hours(self, shape: Transformer, device: Device) -> float:
        """On one device."""
        exact, search = scoring_rates(device)
        return _flops(shape, self.exact, self.length) / exact / 3600 + (
            _flops(shape, self.search, self.length) / search / 3600
        )


def _flops(shape: Transformer, tokens: float, length: int) -> float:
    pairs = causal_pairs([length]) * tokens / length
    return step_flops(decoder_work(shape, tokens=tokens, answers=tokens, pairs=pairs, gradient="none"))


def validation(parameters: PileFfnParameters) -> Passes:
    """One evaluation of the validation set."""
    return _windows(parameters, parameters.data.held_out.val_tokens)


def perplexity(parameters: PileFfnParameters) -> Passes:
    return _windows(parameters, parameters.data.held_out.test_predicted)


def _windows(parameters: PileFfnParameters, tokens: int) -> Passes:
    scored = parameters.perplexity
    return Passes(length=scored.length, exact=tokens * scored.length / scored.stride)


def matching(parameters: PileFfnParameters) -> Passes:
    """Evaluations until a degraded model is as bad as it should be."""
    once = validation(parameters)
    return Passes(length=once.length, exact=NOISE_EVALUATIONS * once.exact)


def benchmarks(parameters: PileFfnParameters) -> Passes:
    """Every task of the harness."""
    tokens = sum(items * task.requests * task.tokens for task, items in benchmark_items(parameters.benchmarks))
    return Passes(length=CONTEXT, exact=tokens)


def benchmark_items(settings: BenchmarkParameters) -> list[tuple[Task, int]]:
    """Each task with the items that are scored of it; one that is not known here counts as the largest."""
    most = settings.limit if settings.source == "hub" else settings.made_items
    largest = max(TASKS.values(), key=lambda task: task.items * task.requests * task.tokens)
    found = [TASKS.get(name, largest) for name in settings.tasks]
    return [(task, task.items if most is None else min(most, task.items)) for task in found]


def probes() -> Passes:
    return Passes(length=PROBE_TOKENS, exact=PROBE_SENTENCES * PROBE_TOKENS)


def trigger_attack(parameters: PileFfnParameters) -> Passes:
    """The search for a trigger, its score, and the random triggers."""
    budget, length = parameters.attacks.allowed, parameters.data.held_out.attack_tokens
    triggered = length + budget.trigger_tokens
    scores = (1 + budget.random_triggers) * budget.eval_docs * (length + triggered)
    return Passes(
        length=triggered,
        exact=scores + budget.opt_docs * length,
        search=budget.trigger_token_forwards(length),
    )


def flip_attacks(parameters: PileFfnParameters) -> Passes:
    """One-shot and greedy flips, random ones, and the search without gradients."""
    budget, length = parameters.attacks.allowed, parameters.data.held_out.attack_tokens
    tried = budget.token_forwards(length)
    # Clean and attacked, of each of three attacks on the documents and of the query control.
    scored = 2 * (3 * budget.flip_docs + budget.query_docs)
    return Passes(length=length, exact=scored * length, search=sum(tried[name] for name in SEARCHED))


def replays(parameters: PileFfnParameters) -> Passes:
    """Every crafted set of a seed on every arm, forward only: its trigger and its greedy flips."""
    arms = len(parameters.measured)
    length = parameters.data.held_out.attack_tokens
    return Passes(length=length, exact=arms**2 * 2 * _crafted(parameters.attacks.allowed) * length)


def _crafted(budget: AttackBudget) -> int:
    """Documents of one arm's sets that are replayed."""
    return budget.eval_docs + budget.flip_docs
