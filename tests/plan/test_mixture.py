"""Rates: every exact number of molmo2 spec 4.6 and of acceptance item 1."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.errors import ConfigError
from trackyard.parameters import parse_parameters
from trackyard.plan.mixture import Mixture, MixtureParameters, rates

TABLE = Path(__file__).parents[2].parent / "shared" / "spec" / "datasets.csv"
GROUPS = {
    "captions_long_qa": 0.15,
    "image_qa": 0.25,
    "video_qa": 0.20,
    "video_pointing": 0.15,
    "tracking": 0.15,
    "image_pointing": 0.10,
    "nlp": 0.0995,
    "hardcodes": 0.0005,
}
SIZES = {"a1": 10_000, "a2": 40_000, "b1": 250_000, "b2": 90_000, "c1": 400}
STAGE1 = {
    "captions": {"pixmo-cap": 0.60},
    "pointing": {"pixmo-points": 0.15, "pixmo-count": 0.10, "cosyn-point": 0.05},
    "text": {"tulu": 0.10},
}
STAGE1_SIZES = {"pixmo-cap": 100, "pixmo-points": 50, "pixmo-count": 50, "cosyn-point": 20, "tulu": 10}


def _parameters(**values: Any) -> MixtureParameters:
    return parse_parameters(MixtureParameters, values, where="params.yaml: mixture")


def _abc() -> MixtureParameters:
    return _parameters(
        kind="hierarchical",
        groups={
            "A": {"weight": 0.6, "entries": [{"dataset": "a1"}, {"dataset": "a2"}]},
            "B": {
                "weight": 0.3,
                "entries": [{"dataset": "b1", "size": 10_000}, {"dataset": "b2", "multiplier": 0.5}],
            },
            "C": {"weight": 0.1, "entries": [{"dataset": "c1"}]},
        },
        reference_rows=SIZES,
    )


def _rates(mixture: Mixture) -> dict[str, float]:
    return {entry.name: entry.rate for entry in mixture.entries}


def _without(sizes: dict[str, int], *names: str) -> dict[str, int]:
    return {name: rows for name, rows in sizes.items() if name not in names}


@pytest.mark.parametrize(
    ("missing", "expected", "distance"),
    [
        ((), {"a1": 0.2, "a2": 0.4, "b1": 0.12, "b2": 0.18, "c1": 0.1}, 0.0),
        (("a2",), {"a1": 0.6, "a2": 0.0, "b1": 0.12, "b2": 0.18, "c1": 0.1}, 0.4),
        (("c1",), {"a1": 0.2222, "a2": 0.4444, "b1": 0.1333, "b2": 0.2, "c1": 0.0}, 0.1),
    ],
)
def test_hierarchical(missing: tuple[str, ...], expected: dict[str, float], distance: float) -> None:
    mixture = rates(_abc(), _without(SIZES, *missing), strict=False)
    assert _rates(mixture) == pytest.approx(expected, abs=5e-5)
    assert mixture.distance == pytest.approx(distance, abs=1e-12)
    assert mixture.missing == missing
    assert [entry.reference_rate for entry in mixture.entries] == pytest.approx([0.2, 0.4, 0.12, 0.18, 0.1])
    assert {entry.name for entry in mixture.drawn} == set(SIZES) - set(missing)


def test_a_dataset_without_rows_is_missing() -> None:
    assert rates(_abc(), {**SIZES, "a2": 0}, strict=False).missing == ("a2",)


def test_strict_names_what_is_missing() -> None:
    with pytest.raises(ConfigError) as caught:
        rates(_abc(), _without(SIZES, "a2", "c1"), strict=True)
    assert caught.value.exit_code == 2
    assert "2 of 5 mixture entries have no rows: a2, c1" in caught.value.what


def test_nothing_left_is_an_error_even_if_not_strict() -> None:
    with pytest.raises(ConfigError, match="5 of 5"):
        rates(_abc(), {"unrelated": 3}, strict=False)


def test_a_missing_dataset_of_unknown_size_is_named() -> None:
    parameters = _parameters(kind="hierarchical", groups={"A": {"weight": 1, "entries": [{"dataset": ["x", "y"]}]}})
    with pytest.raises(ConfigError, match="number of rows of y is not known"):
        rates(parameters, {"x": 5}, strict=False)


def test_cap_is_not_a_size() -> None:
    """A partial download below the cap counts with the rows it has (spec 18)."""
    group = {"weight": 1, "entries": [{"dataset": "part", "size": 10_000}, {"dataset": "whole"}]}
    mixture = rates(_parameters(kind="hierarchical", groups={"g": group}), {"part": 100, "whole": 100}, strict=True)
    assert _rates(mixture) == {"part": 0.5, "whole": 0.5}


def test_fraction_and_no_size_term() -> None:
    group = {"weight": 1, "entries": [{"dataset": "x", "size": 0.25}, {"dataset": "y", "size": "none"}]}
    mixture = rates(_parameters(kind="hierarchical", groups={"g": group}), {"x": 36, "y": 10_000}, strict=True)
    assert _rates(mixture) == pytest.approx({"x": 0.75, "y": 0.25})


def test_two_entries_of_one_dataset() -> None:
    group = {"weight": 1, "entries": [{"dataset": "x"}, {"dataset": "x", "name": "x-again", "multiplier": 3}]}
    mixture = rates(_parameters(kind="hierarchical", groups={"g": group}), {"x": 36}, strict=True)
    assert _rates(mixture) == pytest.approx({"x": 0.25, "x-again": 0.75})
    group["entries"][1].pop("name")  # type: ignore[index]
    with pytest.raises(ConfigError, match="names x more than once"):
        rates(_parameters(kind="hierarchical", groups={"g": group}), {"x": 36}, strict=True)


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ((), (0.60, 0.15, 0.10, 0.05, 0.10)),
        (("tulu",), (0.6667, 0.1667, 0.1111, 0.0556, 0.0)),
        (("pixmo-count",), (0.60, 0.225, 0.0, 0.075, 0.10)),
    ],
)
def test_seed_stage_1(missing: tuple[str, ...], expected: tuple[float, ...]) -> None:
    mixture = rates(_parameters(kind="fixed", ratios=STAGE1), _without(STAGE1_SIZES, *missing), strict=False)
    assert [entry.rate for entry in mixture.entries] == pytest.approx(expected, abs=5e-5)
    assert [entry.group for entry in mixture.entries] == ["captions", "pointing", "pointing", "pointing", "text"]


def test_report_stage_1() -> None:
    """Groups .60, .30 and .10; inside pointing four entries in proportion to the square root of their rows (4.1)."""
    rows = {"pixmo-cap": 710_000, "points": 90_000, "high": 10_000, "count": 40_000, "cosyn": 160_000, "tulu": 980_000}
    groups = {
        "captions": {"weight": 0.6, "entries": [{"dataset": "pixmo-cap"}]},
        "pointing": {"weight": 0.3, "entries": [{"dataset": name} for name in ("points", "high", "count", "cosyn")]},
        "text": {"weight": 0.1, "entries": [{"dataset": "tulu"}]},
    }
    parameters = _parameters(kind="hierarchical", groups=groups, reference_rows=rows)
    assert _rates(rates(parameters, rows, strict=True)) == pytest.approx(
        {"pixmo-cap": 0.6, "points": 0.09, "high": 0.03, "count": 0.06, "cosyn": 0.12, "tulu": 0.1}
    )
    # A group that is gone gives its weight to the others; an entry that is gone, to its group.
    less = rates(parameters, _without(rows, "tulu", "high"), strict=False)
    assert _rates(less) == pytest.approx(
        {"pixmo-cap": 2 / 3, "points": 1 / 9, "high": 0.0, "count": 2 / 27, "cosyn": 4 / 27, "tulu": 0.0}
    )
    assert less.missing == ("high", "tulu")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"kind": "sqrt"}, (1 / 6, 1 / 3, 1 / 2)),
        ({"kind": "temperature", "temperature": 2.0}, (1 / 6, 1 / 3, 1 / 2)),
        ({"kind": "proportional"}, (1 / 14, 4 / 14, 9 / 14)),
        ({"kind": "temperature", "temperature": 1.0}, (1 / 14, 4 / 14, 9 / 14)),
    ],
)
def test_flat_kinds(values: dict[str, Any], expected: tuple[float, ...]) -> None:
    sizes = {"x": 10_000, "y": 40_000, "z": 90_000}
    assert [entry.rate for entry in rates(_parameters(**values), sizes, strict=True).entries] == pytest.approx(expected)


def test_flat_square_root_is_per_dataset_and_not_per_example() -> None:
    """Negative control: the known bug, sqrt(n) given to every example, is a different mixture."""
    sizes = (10_000, 40_000, 90_000)
    buggy = [n * math.sqrt(n) for n in sizes]
    assert [mass / sum(buggy) for mass in buggy] == pytest.approx([0.0278, 0.2222, 0.75], abs=5e-5)


def test_flat_reports_expected_datasets_that_are_missing() -> None:
    parameters = _parameters(kind="sqrt", reference_rows={"x": 10_000, "y": 40_000, "z": 90_000})
    mixture = rates(parameters, {"y": 40_000, "x": 10_000}, strict=False)
    assert mixture.missing == ("z",)
    assert _rates(mixture) == pytest.approx({"x": 1 / 3, "y": 2 / 3, "z": 0.0})
    assert mixture.distance == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "fixed", "ratios": {"g": {"x": 1.5, "y": -0.5}}}, "ratios.g.y=-0.5"),
        ({"kind": "fixed", "ratios": {"g": {"x": 0.6, "y": 0.3}}}, "add up to 0.9"),
        ({"kind": "hierarchical", "groups": {"g": {"weight": 0, "entries": [{"dataset": "x"}]}}}, "weight=0"),
        ({"kind": "hierarchical", "groups": {"g": {"weight": 1, "entries": []}}}, "g has no entries"),
        (
            {"kind": "hierarchical", "groups": {"g": {"weight": 1, "entries": [{"dataset": "x", "multiplier": 0}]}}},
            "multiplier of x=0",
        ),
        (
            {"kind": "hierarchical", "groups": {"g": {"weight": 1, "entries": [{"dataset": "x", "size": 1.5}]}}},
            "size of x=1.5",
        ),
        ({"kind": "sqrt", "ratios": {"g": {"x": 1.0}}}, "with ratios"),
        ({"kind": "temperature"}, "without temperature"),
        ({"kind": "sqrt", "reference_rows": {"x": 0}}, "reference_rows.x=0"),
    ],
)
def test_refusals(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _parameters(**values)


@given(
    sizes=st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 10**6), min_size=1),
    groups=st.lists(st.tuples(st.floats(0.01, 5), st.sets(st.sampled_from("abcdefgh"), min_size=1)), min_size=1),
)
def test_rates_add_up_whatever_is_missing(sizes: dict[str, int], groups: list[tuple[float, set[str]]]) -> None:
    parameters = _parameters(
        kind="hierarchical",
        groups={
            str(number): {"weight": weight, "entries": [{"dataset": d, "name": f"{number}{d}"} for d in sorted(names)]}
            for number, (weight, names) in enumerate(groups)
        },
        reference_rows=dict.fromkeys("abcdefgh", 1000),
    )
    if not any(names & set(sizes) for _, names in groups):
        with pytest.raises(ConfigError):
            rates(parameters, sizes, strict=False)
        return
    mixture = rates(parameters, sizes, strict=False)
    assert math.fsum(entry.rate for entry in mixture.entries) == pytest.approx(1)
    assert math.fsum(entry.reference_rate for entry in mixture.entries) == pytest.approx(1)
    assert 0 <= mixture.distance <= 1
    assert all((entry.rate > 0) == (entry.dataset in sizes) for entry in mixture.entries)


def test_group_weights_normalise() -> None:
    groups = {name: {"weight": w, "entries": [{"dataset": name, "size": "none"}]} for name, w in GROUPS.items()}
    mixture = rates(_parameters(kind="hierarchical", groups=groups), dict.fromkeys(GROUPS, 1), strict=True)
    expected = (0.1364, 0.2273, 0.1818, 0.1364, 0.1364, 0.0909, 0.0905, 0.0005)
    assert [entry.rate for entry in mixture.entries] == pytest.approx(expected, abs=5e-5)


def _with_rest(name: str, entries: list[dict[str, Any]]) -> MixtureParameters:
    """One group of the report's mixture with the weight it has there; the others stand in as one."""
    groups = {
        name: {"weight": GROUPS[name], "entries": entries},
        "rest": {"weight": 1.1 - GROUPS[name], "entries": [{"dataset": "rest", "size": "none"}]},
    }
    return _parameters(kind="hierarchical", groups=groups)


CAPTIONS = {
    "Molmo2-Cap": (100_000, 1.5, "rows", 3.382),
    "PixMo-CapQa": (190_000, 1.0, "rows", 3.108),
    "PixMo-Cap": (710_000, 1.0, 100_000, 2.255),
    "PixMo-AskModelAnything": (71_000, 1.0, "rows", 1.900),
    "Molmo2-MultiImageQA": (45_000, 1.0, "rows", 1.513),
    "Molmo2-AskModelAnything": (43_000, 1.0, "rows", 1.479),
}


def test_captions_group_masses() -> None:
    """s_i = sqrt(e_i) * r_i, as spec 4.6 prints them: rates are in their proportion."""
    masses = dict(zip(CAPTIONS, (474.342, 435.890, 316.228, 266.458, 212.132, 207.364), strict=True))
    for name, (rows, multiplier, size, _) in CAPTIONS.items():
        effective = rows if size == "rows" else min(rows, int(size))
        assert math.sqrt(effective) * multiplier == pytest.approx(masses[name], abs=5e-4)
    entries = [{"dataset": d, "multiplier": r, "size": size} for d, (_, r, size, _) in CAPTIONS.items()]
    sizes = {"rest": 1, **{name: rows for name, (rows, *_) in CAPTIONS.items()}}
    got = _rates(rates(_with_rest("captions_long_qa", entries), sizes, strict=True))
    for name, mass in masses.items():
        assert got[name] == pytest.approx(0.15 / 1.1 * mass / sum(masses.values()), rel=1e-5)


def test_captions_group() -> None:
    entries = [{"dataset": d, "multiplier": r, "size": size} for d, (_, r, size, _) in CAPTIONS.items()]
    sizes = {"rest": 1, **{name: rows for name, (rows, *_) in CAPTIONS.items()}}
    got = _rates(rates(_with_rest("captions_long_qa", entries), sizes, strict=True))
    assert {name: 100 * got[name] for name in CAPTIONS} == pytest.approx(
        {name: rate for name, (*_, rate) in CAPTIONS.items()}, abs=5e-4
    )
    parameters = _with_rest("captions_long_qa", entries).model_copy(update={"reference_rows": sizes})
    less = rates(parameters, _without(sizes, "Molmo2-Cap"), strict=False)
    assert [100 * entry.rate for entry in less.entries[1:6]] == pytest.approx(
        [4.133, 2.999, 2.527, 2.012, 1.966], abs=5e-4
    )


def test_video_pointing() -> None:
    """Three entries without a size term, and six sets that share one entry in proportion to their rows."""
    academic = {"MeViS": 20_000, "ReVOS": 11_000, "LV-VIS": 11_000, "OVIS": 880, "BURST": 680, "Ref-DAVIS17": 450}
    points = {"points-0-5": 0.4, "points-6-25": 0.3, "points-26-60": 0.1}
    entries: list[dict[str, Any]] = [{"dataset": d, "multiplier": r, "size": "none"} for d, r in points.items()]
    entries.append({"dataset": list(academic), "multiplier": 0.2, "size": "none"})
    sizes = {"rest": 1, **dict.fromkeys(points, 110_000), **academic}
    got = {
        name: 100 * rate
        for name, rate in _rates(rates(_with_rest("video_pointing", entries), sizes, strict=True)).items()
    }
    assert sum(got[name] for name in points) == pytest.approx(10.909, abs=5e-4)
    assert [got[name] for name in academic] == pytest.approx([1.239, 0.682, 0.682, 0.055, 0.042, 0.028], abs=5e-4)


def _table() -> list[dict[str, str]]:
    if not TABLE.is_file():
        pytest.skip("the catalogue's raw table (datasets.csv) is not beside this checkout")
    with open(TABLE, encoding="utf-8", newline="") as handle:
        return [r for r in csv.DictReader(handle) if r["role"] == "train" and r["group"].startswith("sft:")]


def test_table_counts() -> None:
    counts = {
        "captions_long_qa": (6, 1_159_000),
        "image_qa": (32, 2_422_700),
        "video_qa": (32, 2_431_190),
        "image_pointing": (4, 1_142_000),
        "video_pointing": (7, 374_010),
        "tracking": (22, 806_240),
        "nlp": (1, 980_000),
    }
    table = _table()
    found = {group: [int(row["n_examples"]) for row in table if row["group"] == f"sft:{group}"] for group in counts}
    assert {group: (len(rows), sum(rows)) for group, rows in found.items()} == counts
    assert sum(map(len, found.values())) == 104
    assert sum(float(row["sft_rate_pct"]) for row in table if row["n_examples"]) == pytest.approx(99.96)


def test_image_qa_group() -> None:
    """A-OKVQA is two entries of 17k, PixMo-Clocks is capped at 250k: all printed rates come out."""
    table = [row for row in _table() if row["group"] == "sft:image_qa"]
    sizes, entries = {"rest": 1}, []
    for row in table:
        if row["name"] == "A-OKVQA":
            sizes |= {"A-OKVQA-mc": 17_000, "A-OKVQA-direct": 17_000}
            entries += [{"dataset": "A-OKVQA-mc"}, {"dataset": "A-OKVQA-direct"}]
            continue
        sizes[row["name"]] = int(row["n_examples"])
        cap = 250_000 if row["name"] == "PixMo-Clocks" else int(row["cap_or_weight"] or 10**9)
        entries.append({"dataset": row["name"], "size": cap})
    got = _rates(rates(_with_rest("image_qa", entries), sizes, strict=True))
    got["A-OKVQA"] = got["A-OKVQA-mc"] + got["A-OKVQA-direct"]
    assert math.sqrt(250_000) / got["PixMo-Clocks"] * 0.25 / 1.1 == pytest.approx(6_030.2, abs=0.05)
    wrong = {r["name"]: (got[r["name"]], r["sft_rate_pct"]) for r in table
             if abs(100 * got[r["name"]] - float(r["sft_rate_pct"])) > 0.05 + 1e-9}  # fmt: skip
    assert wrong == {}
