"""The model card states its facts and nothing else, with front matter that the hub reads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from hypothesis import given
from hypothesis import strategies as st

from trackyard.publish.card import BaseModel, CardFacts, TrainedOn, cost_rows, model_card, number
from trackyard.publish.measured import Measured

FACTS = CardFacts(
    title="Molmo2 tiny, stage2",
    what="The model after stage2.",
    task="image-text-to-text",
    library="transformers",
    tags=("molmo2", "trackyard", "stage2"),
    use="    python answer.py QUESTION",
    metrics=(
        Measured(name="validation loss", value=0.123456789, n=576, over="rows", start=2.5),
        Measured(name="validation counting", value=0.75, n=96, over="questions", low=0.6, high=0.8, how="some way",
                 start=0.125, chance=0.25),
    ),
    data=(
        TrainedOn(name="tulu", licence=None, source="made", fingerprint="b" * 64, share=0.0012),
        TrainedOn(name="pixmo-cap", licence="odc-by", source="repo owner/pixmo", fingerprint="a" * 64, share=0.6,
                  hub="owner/pixmo"),
    ),
    bases=(
        BaseModel(role="start", id="owner/base", revision="c" * 40, licence="apache-2.0"),
        BaseModel(role="vae", id="tiny", revision=None, licence=None),
    ),
    training=(("steps", "32,000"),),
    limits=("One seed.",),
    cost=cost_rows("cpu", 2, 0.5, None, 3),
    lineage=(("run", "`1234567890ab`"),),
    verify="trackyard lineage verify artifacts/x",
    data_words=("Three addresses were asked.",),
    further=(("Audits", "- all passed"),),
)  # fmt: skip


def front_matter(card: str) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(card.split("---\n", 2)[1])
    return read


def test_front_matter() -> None:
    front = front_matter(model_card(FACTS))
    index = front.pop("model-index")
    assert front == {
        "library_name": "transformers",
        "pipeline_tag": "image-text-to-text",
        "tags": ["molmo2", "trackyard", "stage2"],
        "license": "other",
        "license_name": "see-licences",
        "license_link": "LICENSES.md",
        "base_model": ["owner/base"],
        "datasets": ["owner/pixmo"],
    }
    values = {metric["name"]: metric["value"] for one in index[0]["results"] for metric in one["metrics"]}
    assert values == {"validation loss": 0.123456789, "validation counting": 0.75}


def test_the_hub_s_own_library_reads_it() -> None:
    data = ModelCard(model_card(FACTS)).data
    assert (data.library_name, data.license, data.base_model) == ("transformers", "other", ["owner/base"])
    assert [(one.dataset_name, one.metric_type, one.metric_value) for one in data.eval_results or []] == [
        ("validation", "loss", 0.123456789),
        ("validation", "counting", 0.75),
    ]


def test_every_fact_is_stated() -> None:
    card = model_card(FACTS)
    for text in (
        "# Molmo2 tiny, stage2",
        "The model after stage2.",
        "| validation loss | 0.1235 | none | 576 rows | 2.5 | none |",
        "| validation counting | 0.75 | 0.6 to 0.8 | 96 questions | 0.125 | 0.25 |",
        "Intervals: some way.",
        "Measured numbers are rounded to four digits; `model-index`, above, has every value in full.",
        "| pixmo-cap | 60.00% | odc-by | repo owner/pixmo | `aaaaaaaaaaaa` |",
        "| tulu | 0.12% | not stated | made | `bbbbbbbbbbbb` |",
        f"| start | `owner/base` | {'c' * 40} | apache-2.0 |",
        "| vae | `tiny` | none | not stated |",
        "| steps | 32,000 |",
        "- One seed.",
        "| devices | 2 x cpu |",
        "| device hours | 0.5 |",
        "| energy of the GPUs | not measured |",
        "| attempts | 3 |",
        "| run | `1234567890ab` |",
        "    trackyard lineage verify artifacts/x",
        "Three addresses were asked.",
        "## Audits\n\n- all passed",
    ):
        assert text in card, text
    assert "None" not in card


def test_what_is_not_known_makes_no_row_and_no_column() -> None:
    card = model_card(replace(FACTS, cost=(), bases=(), metrics=(replace(FACTS.metrics[1], start=None, chance=None),)))
    assert "## Cost" not in card
    assert "## Base models" not in card
    assert "base_model" not in front_matter(card)
    assert "| metric | value | 95 % interval | over |\n" in card


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=30))
def test_no_name_can_break_the_table(name: str) -> None:
    data = (TrainedOn(name=name, licence="x | y", source="a\nb", fingerprint="e" * 64, share=1.0),)
    rows = [line for line in model_card(replace(FACTS, data=data)).split("\n") if "eeee" in line]
    assert len(rows) == 1
    assert rows[0].replace(r"\|", "").count("|") == 6


@pytest.mark.parametrize(
    ("value", "text"), [(0.123456, "0.1235"), (12_345, "12,345"), (1e-7, "1e-07"), (1234.5, "1234")]
)
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text
