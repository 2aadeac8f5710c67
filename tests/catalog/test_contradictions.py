"""Contradictions of the sources: each sentence carries both figures, and goes when they agree."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from trackyard.catalog.contradictions import contradictions, printed_count, size
from trackyard.catalog.entries import Entry, Figure, FoundingFacts, load_catalogue
from trackyard.catalog.reference import FoundingNames, Reference, load_founding_names, load_reference
from trackyard.catalog.totals import founding_totals, nine_totals

CATALOGUE = Path(__file__).resolve().parents[2] / "catalog"


@cache
def shipped() -> tuple[dict[str, Entry], Reference, FoundingNames]:
    return load_catalogue(CATALOGUE), load_reference(CATALOGUE), load_founding_names(CATALOGUE)


def told(**changed: Entry) -> tuple[str, ...]:
    catalogue, reference, names = shipped()
    catalogue = catalogue | {entry.name: entry for entry in changed.values()}
    return contradictions(catalogue, reference, names, founding_totals(catalogue), nine_totals(catalogue, reference))


@pytest.mark.parametrize(
    "figures",
    [
        ("500 GB", "740 GB"),
        ("292 MB", "38.474 GB", "8 caches", "the 4 that"),
        ("304,625", "300,725"),
        ("61 GB", "19.3 GB", "512 KiB", "123,287 files", "64.638 GB"),
        ("53 GB", "12.4 GB", "coco-test2015"),
        ("visual-genome", "15 GB", "tally_qa"),
        ("call 32 of", "name 10", "of the 42", "18 come", "7 by URL", "16 need", "1 cannot"),
        ('"800k"', "pixmo-points", "530,000"),
        ('"800k"', "pixmo-count", "74,000"),
        ('"188k"', "molmo2-synmultiimageqa", "97,100"),
        ("825 GB", "pile-uncopyrighted", "334 GB"),
        ("3,600 clips", "15,000 queries", "6,624", "6,876", "29,704", "220,000"),
    ],
)
def test_a_sentence_with_both_figures(figures: tuple[str, ...]) -> None:
    assert [sentence for sentence in told() if all(figure in sentence for figure in figures)], figures


def test_no_sentence_twice() -> None:
    assert len(set(told())) == len(told())


def test_counts_that_agree_are_no_contradiction() -> None:
    """TallyQA's 250k are its questions; PixMo-Count's would be gone if the report counted 800k."""
    assert not [sentence for sentence in told() if "for tallyqa;" in sentence]
    count = shipped()[0]["pixmo-count"]
    agreeing = count.expected.model_copy(update={"examples": Figure(value=790_000, basis="stated")})
    assert not [s for s in told(a=count.model_copy(update={"expected": agreeing})) if "for pixmo-count;" in s]


def test_a_size_that_agrees_is_no_contradiction() -> None:
    entry = shipped()[0]["c4-en"]
    agreeing = entry.model_copy(update={"founding": FoundingFacts(bytes=entry.expected.bytes.value)})
    assert [sentence for sentence in told() if "for c4-en;" in sentence]
    assert not [sentence for sentence in told(a=agreeing) if "for c4-en;" in sentence]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("800k", 800_000),
        ("6.2k", 6200),
        ("1M", 10**6),
        ("1M+", None),
        ("100k of 12.8M", None),
        ("", None),
        ("12", None),
    ],
)
def test_printed_count(text: str, count: int | None) -> None:
    assert printed_count(text) == count


@pytest.mark.parametrize(
    ("count", "text"),
    [(38_474_000_000, "38.474 GB"), (292_000_000, "292 MB"), (740 * 10**9, "740 GB"), (None, "unknown size")],
)
def test_size(count: int | None, text: str) -> None:
    assert size(count) == text
