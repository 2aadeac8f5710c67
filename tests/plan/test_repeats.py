"""Limited repeats: rates stay rates, nobody is above its limit, nobody else loses, and too little data is an error."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from trackyard.errors import ConfigError
from trackyard.plan.mixture import Mixture, MixtureEntry, MixtureParameters, rates
from trackyard.plan.packing import Budget
from trackyard.plan.repeats import cap_for_draws, cap_rates, draws_bound

BUDGET = Budget(tokens=1000, inputs=10)
FLOATS = st.floats(0.05, 1)


def _mixture(**groups: dict[str, float]) -> Mixture:
    entries = tuple(
        MixtureEntry(name=f"{group}/{dataset}", dataset=dataset, group=group, rate=rate, reference_rate=rate)
        for group, shares in groups.items()
        for dataset, rate in shares.items()
    )
    return Mixture(entries=entries, missing=(), distance=0.0)


def _cap(mixture: Mixture, rows: dict[str, int], **changes: Any) -> Any:
    values: dict[str, Any] = {
        "mean_tokens": dict.fromkeys(rows, 100.0), "mean_inputs": dict.fromkeys(rows, 0.0), "budget": BUDGET,
        "packs": 40, "packs_per_step": 4, "max_epochs": 2.0,
    }  # fmt: skip
    return cap_rates(mixture, rows=rows, **(values | changes))


def _rates(mixture: Mixture) -> dict[str, float]:
    return {entry.name: entry.rate for entry in mixture.entries}


def test_the_bound_is_that_of_the_tighter_budget() -> None:
    mixture = _mixture(g={"x": 0.5, "y": 0.5})
    tokens, inputs = {"x": 100.0, "y": 300.0}, {"x": 0.0, "y": 8.0}
    assert draws_bound(mixture, mean_tokens=tokens, mean_inputs=inputs, budget=BUDGET, packs=10) == 10 * 10 / 4
    none = dict.fromkeys(inputs, 0.0)
    assert draws_bound(mixture, mean_tokens=tokens, mean_inputs=none, budget=BUDGET, packs=10) == 10 * 1000 / 200


def test_what_is_cut_stays_in_the_group() -> None:
    """400 draws: x may have 40 of its 100, and y and z of its group get the rest in proportion."""
    mixture = _mixture(g={"x": 0.25, "y": 0.25, "z": 0.125}, h={"w": 0.375})
    found, cuts = _cap(mixture, {"x": 20, "y": 1000, "z": 1000, "w": 1000})
    assert _rates(found) == pytest.approx({"g/x": 0.1, "g/y": 0.35, "g/z": 0.175, "h/w": 0.375})
    assert found.distance == pytest.approx(0.15)
    assert [cut.dataset for cut in cuts] == ["x"]
    assert (cuts[0].rows, cuts[0].asked_rate, cuts[0].asked_epochs) == (20, 0.25, 5.0)
    assert (cuts[0].rate, cuts[0].epochs) == pytest.approx((0.1, 2.0))


def test_what_no_one_in_the_group_may_have_goes_to_the_other_groups() -> None:
    mixture = _mixture(g={"x": 0.25, "y": 0.25}, h={"w": 0.2}, k={"v": 0.3})
    found, _ = _cap(mixture, {"x": 20, "y": 40, "w": 1000, "v": 1000})
    assert _rates(found) == pytest.approx({"g/x": 0.1, "g/y": 0.2, "h/w": 0.28, "k/v": 0.42})


def test_entries_of_one_dataset_share_its_rows() -> None:
    mixture = _mixture(g={"x": 0.2, "y": 0.3}, h={"x": 0.1, "w": 0.4})
    found, cuts = _cap(mixture, {"x": 30, "y": 1000, "w": 1000})
    assert _rates(found) == pytest.approx({"g/x": 0.1, "g/y": 0.4, "h/x": 0.05, "h/w": 0.45})
    assert [(cut.dataset, round(cut.epochs, 6)) for cut in cuts] == [("x", 2.0)]


def test_the_number_of_draws_follows_the_cut() -> None:
    """Cutting a dataset of short rows leaves fewer draws, so that a limit taken from the first count is too low."""
    mixture = _mixture(g={"short": 0.9, "long": 0.1})
    tokens = {"short": 10.0, "long": 500.0}
    found, cuts = _cap(mixture, {"short": 100, "long": 10_000}, mean_tokens=tokens)
    draws = draws_bound(found, mean_tokens=tokens, mean_inputs=dict.fromkeys(tokens, 0.0), budget=BUDGET, packs=40)
    assert found.entries[0].rate * draws == pytest.approx(200)
    # 200 rows of 10 tokens and the remaining 38,000 tokens of 40 packs in rows of 500.
    assert draws == pytest.approx(200 + 38_000 / 500)
    assert cuts[0].epochs == pytest.approx(2)


def test_too_little_data_says_for_how_many_steps_it_suffices() -> None:
    mixture = _mixture(g={"x": 0.5, "y": 0.5})
    rows = {"x": 50, "y": 65}
    with pytest.raises(ConfigError) as caught:
        _cap(mixture, rows)
    assert "10 steps draw 400 rows" in caught.value.what
    assert "at most 2 epochs of 2 datasets are 230" in caught.value.what
    assert "suffice for 5 steps" in caught.value.why
    found, cuts = _cap(mixture, rows, packs=5 * 4)
    assert not cuts
    assert found is mixture
    with pytest.raises(ConfigError):
        _cap(mixture, rows, packs=6 * 4)


def test_the_draws_may_be_given() -> None:
    mixture = _mixture(g={"x": 0.5, "y": 0.3, "z": 0.2})
    found, cuts = cap_for_draws(mixture, rows={"x": 10, "y": 100}, draws=100, max_epochs=1)
    assert _rates(found) == pytest.approx({"g/x": 0.1, "g/y": 0.54, "g/z": 0.36})
    assert [cut.dataset for cut in cuts] == ["x"]
    with pytest.raises(ConfigError, match="100 rows are drawn"):
        cap_for_draws(mixture, rows={"x": 10, "y": 20, "z": 50}, draws=100, max_epochs=1)


def test_missing_entries_stay_missing() -> None:
    parameters = MixtureParameters(kind="sqrt", reference_rows={"gone": 100})
    mixture = rates(parameters, {"x": 100, "y": 10_000}, strict=False)
    found, _ = _cap(mixture, {"x": 5, "y": 10_000})
    assert found.missing == ("gone",)
    assert _rates(found)["gone"] == 0.0
    assert _rates(found)["x"] == pytest.approx(2 * 5 / 400)


@settings(max_examples=100, deadline=None)
@given(
    shares=st.lists(st.tuples(st.sampled_from("ghk"), st.sampled_from("uvwxyz"), FLOATS), min_size=1, max_size=10,
                    unique_by=lambda item: item[:2]),
    sizes=st.fixed_dictionaries({name: st.integers(1, 200) for name in "uvwxyz"}),
    lengths=st.fixed_dictionaries({name: st.integers(1, 1000) for name in "uvwxyz"}),
    inputs=st.fixed_dictionaries({name: st.integers(0, 10) for name in "uvwxyz"}),
    packs=st.integers(1, 60),
    max_epochs=st.floats(0.5, 8),
)  # fmt: skip
def test_properties(
    shares: list[tuple[str, str, float]], sizes: dict[str, int], lengths: dict[str, int], inputs: dict[str, int],
    packs: int, max_epochs: float,
) -> None:  # fmt: skip
    total = math.fsum(rate for *_, rate in shares)
    groups: dict[str, dict[str, float]] = {}
    for group, dataset, rate in shares:
        groups.setdefault(group, {})[dataset] = rate / total
    mixture = _mixture(**groups)
    means: dict[str, Any] = {"mean_tokens": lengths, "mean_inputs": inputs, "budget": BUDGET, "packs": packs}
    named = {dataset for _, dataset, _ in shares}
    try:
        found, cuts = cap_rates(mixture, rows=sizes, packs_per_step=1, max_epochs=max_epochs, **means)
    except ConfigError:
        # Even all rows, each max_epochs times, fill neither budget of the packs.
        assert max_epochs * sum(sizes[name] * lengths[name] for name in named) < packs * BUDGET.tokens * (1 + 1e-9)
        assert max_epochs * sum(sizes[name] * inputs[name] for name in named) < packs * BUDGET.inputs * (1 + 1e-9)
        return
    assert [entry.name for entry in found.entries] == [entry.name for entry in mixture.entries]
    assert math.fsum(entry.rate for entry in found.entries) == pytest.approx(1, abs=1e-9)
    draws = draws_bound(found, **means)
    epochs = {
        name: draws * math.fsum(entry.rate for entry in found.entries if entry.dataset == name) / sizes[name]
        for name in named
    }
    assert max(epochs.values()) <= max_epochs * (1 + 1e-6)
    before, after = _rates(mixture), _rates(found)
    for name in named - {item.dataset for item in cuts}:
        own = [entry.name for entry in mixture.entries if entry.dataset == name]
        assert sum(after[one] for one in own) >= sum(before[one] for one in own) * (1 - 1e-9)
    # Whoever is not at a limit keeps its proportion to the others of its group.
    loose = [entry for entry in mixture.entries if epochs[entry.dataset] < max_epochs * (1 - 1e-6)]
    for one in loose:
        for other in loose:
            if one.group == other.group:
                assert after[one.name] * before[other.name] == pytest.approx(after[other.name] * before[one.name])
    asked = draws_bound(mixture, **means)
    assume(all(asked * sum(e.rate for e in mixture.entries if e.dataset == name) <= max_epochs * sizes[name] * 0.999
               for name in named))  # fmt: skip
    assert found is mixture
    assert cuts == ()
