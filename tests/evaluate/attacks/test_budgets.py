"""The presets of the specification, and draws that belong to what they are for."""

from __future__ import annotations

import pytest

from trackyard.evaluate.attacks.budgets import PRESETS, generator


@pytest.mark.parametrize(("name", "forwards"), [("smoke", 28_672), ("sweep", 21_708_800), ("full", 632_832_000)])
def test_presets_cost_what_the_specification_says(name: str, forwards: int) -> None:
    assert PRESETS[name].trigger_token_forwards() == forwards
    assert PRESETS[name].query_forwards() == 202
    spent = PRESETS[name].token_forwards()
    assert spent["uat"] == forwards
    assert spent["query"] == 202 * 512 * PRESETS[name].query_docs
    assert spent["hotflip_greedy"] == 10 * 11 * 512 * PRESETS[name].flip_docs


def test_draws_depend_on_every_part_of_their_key_and_on_nothing_else() -> None:
    def draw(*key: object) -> int:
        seed, attack, restart, doc_id = key
        return int(generator(seed, attack, restart=restart, doc_id=doc_id).integers(2**62))  # type: ignore[arg-type]

    base = (42, "query", 0, "a")
    assert draw(*base) == draw(*base)
    others = [(43, "query", 0, "a"), (42, "uat", 0, "a"), (42, "query", 1, "a"), (42, "query", 0, "b")]
    assert len({draw(*key) for key in [base, *others]}) == 5
