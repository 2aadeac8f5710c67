"""The card of a stage says what its specification and its result hold."""

from __future__ import annotations

from typing import Any

import pytest

from trackyard.evaluate.intervals import wilson
from trackyard.publish.card import BaseModel, TrainedOn, model_card
from trackyard.recipes.molmo2.card import DEVIATIONS, card_facts, row_shares
from trackyard.record.code import CodeIdentity
from trackyard.record.identity import RunSpec

RATE = {"learning_rate": 3e-4, "warmup_steps": 5}
SPEC = RunSpec(
    track="molmo2",
    stage="stage2",
    parameters={
        "model": {"preset": "tiny", "start": "random"},
        "engine": {"precision": "fp32"},
        "stage": {
            "packs_per_step": 8,
            "max_tokens": 720,
            "optimiser": {"rates": {"llm": RATE, "vit": RATE}, "beta1": 0.9, "beta2": 0.95, "eps": 1e-6,
                          "weight_decay": 0.0, "schedule": "cosine", "clip_norm": 1.0},
        },
    },
    plan="f" * 64, model={}, snapshots={}, parent="ba0987654321",
    code=CodeIdentity(commit="c" * 40, dirty_digest="d" * 64), image=None, seed=3,
)  # fmt: skip
SCORES = {
    "counting": {"value": 134 / 192, "chance": 0.25, "examples": 192, "unparsed": 0},
    "pointing": {"value": 0.5243055, "chance": 0.125, "examples": 96, "unparsed": 0},
}
RESULT: dict[str, Any] = {
    "steps": 32_000, "tokens": 1_234_567, "visual_tokens": 7_654, "rows": 898, "padding": 0.00511, "skipped_steps": 2,
    "loss": {"first": 4.5, "last": 0.25},
    "validation": {
        "start": {"loss": 4.25, "loss_rows": 576, "scores": {name: SCORES[name] | {"value": 0.0} for name in SCORES}},
        "trained": {"loss": 0.5, "loss_rows": 576, "scores": SCORES},
    },
}  # fmt: skip
DATA = (TrainedOn(name="tulu", licence="odc-by", source="generator=x", fingerprint="a" * 64, share=0.5),)


@pytest.fixture(scope="module")
def card() -> str:
    base = BaseModel(role="start", id="random", revision=None, licence=None)
    return model_card(card_facts(SPEC, RESULT, data=DATA, bases=[base], cost=[("attempts", "2")]))


def test_every_number_is_that_of_the_result(card: str) -> None:
    ends = wilson(134, 192)
    for line in (
        "# Molmo2 tiny, stage2",
        "32,000 steps, 1,234,567 tokens.",
        "| validation loss | 0.5 | none | 576 rows | 4.25 | none |",
        f"| validation counting | 0.6979 | {ends.low:.4g} to {ends.high:.4g} | 192 questions | 0 | 0.25 |",
        "| validation pointing | 0.5243 | none | 96 questions | 0 | 0.125 |",
        "| tulu | 50.00% | odc-by | generator=x | `aaaaaaaaaaaa` |",
        "| steps | 32,000, 2 of them skipped |",
        "| tokens | 1,234,567, 7,654 of them visual |",
        "| rate of vit | 0.0003, 5 steps of warm-up |",
        "betas 0.9 and 0.95, eps 1e-06, weight decay 0, cosine schedule, norm of gradients at most 1 |",
        "| training loss | 4.5 at the first step, 0.25 at the last |",
        f"| run | `{SPEC.run_id}` |",
        f"| code | `{'c' * 40}` and uncommitted changes `{'d' * 12}` |",
        "| parent run | `ba0987654321` |",
        "| seed | 3 |",
        "| attempts | 2 |",
        "trackyard lineage verify artifacts/molmo2/stage2/export",
    ):
        assert line in card, line


def test_limits_follow_from_the_record(card: str) -> None:
    limits = card.split("## Limits")[1]
    assert "began as random numbers" in limits
    assert "1 of 1 data sets are made by a generator" in limits
    assert all(line in limits for line in DEVIATIONS)


def test_shares_of_a_data_set_in_several_groups_are_added() -> None:
    entries = [
        {"dataset": "a", "row_share": 0.5},
        {"dataset": "b", "row_share": 0.25},
        {"dataset": "a", "row_share": 0.25},
    ]
    assert row_shares({"entries": entries}) == {"a": 0.75, "b": 0.25}
