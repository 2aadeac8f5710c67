"""The model card states its facts and nothing else, with front matter that the hub reads."""

from __future__ import annotations

from dataclasses import replace

import yaml

from trackyard.publish.card import DEVIATIONS, CardFacts, model_card

FACTS = CardFacts(
    title="Molmo2 tiny, stage2",
    track="molmo2",
    stage="stage2",
    run_id="1234567890ab",
    plan_fingerprint="f" * 64,
    commit="c" * 40,
    dirty_digest=None,
    parent_run="ba0987654321",
    datasets={
        "pixmo-cap": {"licence": "odc-by", "fingerprint": "a" * 64, "share": 0.6},
        "tulu": {"licence": "cc-by-4.0", "fingerprint": "b" * 64, "share": 0.0012},
    },
    metrics=[("counting (96 examples)", "12.5%", "80.0%")],
    steps=32_000,
    tokens=1_234_567,
)


def front_matter(card: str) -> dict[str, object]:
    _, front, _ = card.split("---\n", 2)
    read: dict[str, object] = yaml.safe_load(front)
    return read


def test_front_matter() -> None:
    front = front_matter(model_card(FACTS))
    assert front == {
        "library_name": "transformers",
        "pipeline_tag": "image-text-to-text",
        "tags": ["molmo2", "trackyard", "stage2"],
        "datasets": ["pixmo-cap", "tulu"],
    }


def test_every_fact_is_stated() -> None:
    card = model_card(FACTS)
    for text in (
        "# Molmo2 tiny, stage2",
        "32,000 steps, 1,234,567 tokens",
        "| counting (96 examples) | 12.5% | 80.0% |",
        "| pixmo-cap | 60.00% | odc-by | `aaaaaaaaaaaa` |",
        "| tulu | 0.12% | cc-by-4.0 | `bbbbbbbbbbbb` |",
        "Licences of the data: cc-by-4.0; odc-by.",
        "| run | `1234567890ab` |",
        f"| plan | `{'f' * 64}` |",
        f"| code | `{'c' * 40}` |",
        "| parent run | `ba0987654321` |",
        *DEVIATIONS,
    ):
        assert text in card, text
    assert "None" not in card


def test_a_first_stage_on_changed_code_says_so() -> None:
    card = model_card(replace(FACTS, parent_run=None, dirty_digest="d" * 64))
    assert "| parent run | none |" in card
    assert f"| code | `{'c' * 40}` + uncommitted changes `{'d' * 12}` |" in card


def test_a_dataset_name_cannot_break_the_table() -> None:
    odd = {"a|b": {"licence": "x | y", "fingerprint": "e" * 64, "share": 1.0}}
    rows = [line for line in model_card(replace(FACTS, datasets=odd)).splitlines() if "eeee" in line]
    assert len(rows) == 1
    assert rows[0].replace(r"\|", "").count("|") == 5
