"""The space plan of the shipped catalogue: totals of the sources, and budgets that hold.

Exact values: molmo2 spec section 3 (80, 740 and 750 GB), nine-datasets spec section 2 (38.474 GB).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from trackyard.acquire.space import bytes_per_visual, needs_of
from trackyard.catalog.entries import Entry, load_catalogue
from trackyard.catalog.selection import closure, select
from trackyard.cli.data.planning import _by_entry, _choose, _mixture, _reference, amount
from trackyard.cli.main import app
from trackyard.errors import ConfigError

ROOT = Path(__file__).parents[2]
GB = 10**9


def planned(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["data", "plan", *arguments, "--json"])
    # 1 says that this machine has less room than the selection needs.
    assert done.exit_code in (0, 1), done.output
    body: dict[str, Any] = json.loads(done.stdout)
    return body


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.fixture(scope="module")
def catalogue() -> dict[str, Entry]:
    return load_catalogue(ROOT / "catalog")


@pytest.mark.parametrize(
    ("text", "value"), [("500GB", 500 * GB), ("1.5TB", 1500 * GB), ("1M", 10**6), ("7", 7), ("2 MB", 2 * 10**6)]
)
def test_amounts(text: str, value: int) -> None:
    assert amount(text, option="--budget") == value


@pytest.mark.parametrize("text", ["", "GB", "-5GB", "5XB", "five", "nan", "inf"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not an amount"):
        amount(text, option="--budget")


def test_all_stages_with_the_totals_and_contradictions_of_the_sources() -> None:
    body = planned("--stage", "all")
    assert body["founding"] == {
        "stage1_bytes": 80 * GB, "stage2_bytes": 740 * GB, "union_bytes": 750 * GB
    }  # fmt: skip
    assert body["nine"]["cache_bytes"] == 38_474_000_000
    assert body["nine"]["manual_cache_bytes"] == 292_000_000
    text = " ".join(body["contradictions"])
    for printed in ("~500 GB", "740 GB", "~292 MB", "38.474 GB", "304,625", "300,725"):
        assert printed in text
    for total in body["totals"]:
        needs = [need for need in body["needs"] if need["place"] == total["place"]]
        assert total["bytes"] == sum(need["bytes"] or 0 for need in needs)
        assert total["files"] == sum(need["files"] or 0 for need in needs)
        assert total["bytes"] == sum(total["bytes_by_basis"].values())


def test_stage_1_states_what_the_founding_documents_state() -> None:
    assert planned("stage1")["stated"]["bytes"] == 80 * GB
    assert planned("--stage", "1")["entries"] == planned("stage1")["entries"]


def test_the_nine_with_everything_their_rows_need() -> None:
    entries = planned("nine")["entries"]
    for name in ("coco_2014_vqa", "tally_qa", "coco-val2014", "coco-train2014", "visual-genome", "scene-text"):
        assert name in entries
    assert "coco-test2015" not in entries, "no row needs it"


def budgeted(catalogue: dict[str, Entry], budget: int, max_files: int | None) -> tuple[Any, int, int]:
    """The choice, and bytes and files of it counted anew."""
    typical = bytes_per_visual(catalogue.values())
    rates = _by_entry(_mixture(_reference(ROOT), catalogue, None), catalogue)
    files = None if max_files is None else str(max_files)
    asked = select(catalogue, ["stage1", "stage2", "stage3"])
    chosen, _ = _choose(asked, catalogue, typical, rates, f"{budget}", files)
    needs = [
        need
        for entry in closure(catalogue, [catalogue[name] for name in chosen.names])
        for need in needs_of(entry, typical)
    ]
    return chosen, sum(need.bytes or 0 for need in needs), sum(need.files or 0 for need in needs)


def greedy_value(catalogue: dict[str, Entry], budget: int, max_files: int) -> float:
    """By rate per byte, whatever still fits."""
    typical = bytes_per_visual(catalogue.values())
    rates = _by_entry(_mixture(_reference(ROOT), catalogue, None), catalogue)

    def size(names: list[str]) -> tuple[int, int]:
        brought = closure(catalogue, [catalogue[name] for name in names])
        needs = [need for entry in brought for need in needs_of(entry, typical)]
        return sum(need.bytes or 0 for need in needs), sum(need.files or 0 for need in needs)

    names = [
        entry.name
        for entry in select(catalogue, ["stage1", "stage2", "stage3"])
        if needs_of(entry, typical) and all(need.bytes is not None for need in needs_of(entry, typical))
    ]
    taken: list[str] = []
    for name in sorted(names, key=lambda name: -rates.get(name, 0) / (1 + size([name])[0])):
        bytes_, files = size([*taken, name])
        if bytes_ <= budget and files <= max_files:
            taken.append(name)
    return sum(rates.get(name, 0) for name in taken)


@pytest.mark.parametrize("budget", [500 * GB, 1000 * GB, 5000 * GB])
def test_budgets_hold_and_are_not_worse_than_greedy(catalogue: dict[str, Entry], budget: int) -> None:
    chosen, size, files = budgeted(catalogue, budget, 10**6)
    assert (size, files) == (chosen.bytes, chosen.files)
    assert size <= budget
    assert files <= 10**6
    assert chosen.value >= greedy_value(catalogue, budget, 10**6) - 1e-4
    assert chosen.names


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 6000 * GB), st.integers(0, 2 * 10**6))
def test_any_budget_holds(budget: int, max_files: int) -> None:
    _, size, files = budgeted(load_catalogue(ROOT / "catalog"), budget, max_files)
    assert size <= budget
    assert files <= max_files


def test_a_budget_says_what_it_does_to_the_mixture() -> None:
    body = planned("--stage", "2", "--budget", "500GB", "--max-files", "1M")
    assert 0 < body["mixture"]["distance"] < 1
    left_out = set(body["chosen"]["left_out"]) | set(body["unknown_size"])
    assert left_out
    rates = {entry["dataset"]: entry["rate"] for entry in body["mixture"]["entries"]}
    assert sum(rates.values()) == pytest.approx(1)
    assert all(rates[name] == 0 for name in left_out & set(rates))


def test_nothing_but_the_document_is_printed() -> None:
    """The solver is a C++ library with a mind of its own."""
    done = CliRunner().invoke(app, ["data", "plan", "--stage", "all", "--budget", "500GB", "--json"])
    assert re.match(r"\{\n", done.stdout)
