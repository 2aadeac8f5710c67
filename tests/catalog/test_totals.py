"""Totals of the shipped catalogue, each one exact and a sum of its entries."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from trackyard.catalog.entries import Entry, load_catalogue
from trackyard.catalog.reference import Reference, load_reference
from trackyard.catalog.totals import fine_tuning, founding_totals, group_counts, nine_images, nine_totals, rate_percent

ROOT = Path(__file__).resolve().parents[2]


@cache
def shipped() -> tuple[dict[str, Entry], Reference]:
    return load_catalogue(ROOT / "catalog"), load_reference(ROOT / "catalog")


def without(name: str) -> dict[str, Entry]:
    return {key: entry for key, entry in shipped()[0].items() if key != name}


def test_groups() -> None:
    """molmo2 spec section 3, row by row."""
    found = {count.group: (count.datasets, count.examples) for count in group_counts(*shipped())}
    assert found == {
        "sft:captions_long_qa": (6, 1_159_000),
        "sft:image_qa": (32, 2_422_700),
        "sft:video_qa": (32, 2_431_190),
        "sft:image_pointing": (4, 1_142_000),
        "sft:video_pointing": (7, 374_010),
        "sft:tracking": (22, 806_240),
        "sft:nlp": (1, 980_000),
        "sft:hardcodes": (1, 0),
    }
    assert all(count.agrees for count in group_counts(*shipped()))
    assert sum(examples for _, examples in found.values()) == 9_315_140


def test_a_group_that_lost_an_entry_does_not_agree() -> None:
    counts = {count.group: count for count in group_counts(without("docvqa"), shipped()[1])}
    assert not counts["sft:image_qa"].agrees
    assert (counts["sft:image_qa"].datasets, counts["sft:image_qa"].expected_datasets) == (31, 32)


def test_a_group_that_nobody_expects_is_shown() -> None:
    catalogue, reference = shipped()
    odd = catalogue | {"docvqa": catalogue["docvqa"].model_copy(update={"group": "sft:odd"})}
    count = {count.group: count for count in group_counts(odd, reference)}["sft:odd"]
    assert (count.datasets, count.expected_datasets, count.agrees) == (1, None, False)


def test_rates() -> None:
    entries = fine_tuning(shipped()[0])
    assert rate_percent(entries) == 100.01
    assert rate_percent(entry for entry in entries if entry.group != "sft:hardcodes") == 99.96


def test_weights_of_the_release_give_the_printed_shares() -> None:
    """molmo2 spec section 17.1."""
    reference = shipped()[1]
    weights = [row.weight for row in (*reference.groups, reference.uncounted)]
    shares = [round(weight / sum(weights), 4) for weight in weights]
    assert round(sum(weights), 4) == 1.10
    assert shares == [0.1364, 0.2273, 0.1818, 0.0909, 0.1364, 0.1364, 0.0905, 0.0005]
    for row in reference.groups:
        assert row.report_percent is not None
        assert abs(100 * row.weight / sum(weights) - row.report_percent) < 0.06


def test_founding_sizes() -> None:
    totals = founding_totals(shipped()[0])
    assert (totals.stage1_bytes, totals.stage2_bytes, totals.union_bytes) == (80 * 10**9, 740 * 10**9, 750 * 10**9)
    less = founding_totals(without("gqa"))
    assert (less.stage1_bytes, less.stage2_bytes) == (80 * 10**9, 715 * 10**9)


def test_nine_datasets() -> None:
    """nine-datasets spec section 10.1."""
    totals = nine_totals(*shipped())
    assert totals.entries == 9
    assert totals.samples == 300_725
    assert (totals.caches, totals.cache_bytes) == (8, 38_474_000_000)
    assert (totals.manual_caches, totals.manual_cache_bytes) == (4, 292_000_000)
    assert (totals.raw_bytes, totals.public_raw_bytes) == (61 * 10**9, 19_300_000_000)
    assert totals.total_bytes == 99_474_000_000
    assert totals.saved_bytes == 408 * 10**9


def test_needed_and_unneeded_images() -> None:
    needed, unneeded = nine_images(shipped()[0])
    assert [entry.name for entry in needed] == ["coco-val2014", "coco-train2014", "visual-genome", "scene-text"]
    assert [entry.name for entry in unneeded] == ["coco-test2015"]


def test_corrected_estimate_of_what_must_move() -> None:
    """nine-datasets spec section 2: 38.5 + 6.3 + 13 + 15 = 73 GB."""
    public = sum(entry.expected.bytes.value or 0 for entry in nine_images(shipped()[0])[0])
    assert round((nine_totals(*shipped()).cache_bytes + public) / 1e9) == 73
