"""Arms against a reference: exact numbers, one family of tests, and nothing compared in silence."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.errors import DataError
from trackyard.evaluate.comparison import AttackOutcome, Comparison, compare
from trackyard.evaluate.statistics import holm, mcnemar

ATTACKS = ("uat", "hotflip_greedy")
Outcomes = dict[str, dict[str, AttackOutcome]]


def rng(arm: str, attack: str) -> np.random.Generator:
    return np.random.default_rng(list(f"{arm} {attack}".encode()))


def found(outcomes: Outcomes, *, tau: float = 0.25, reference: str = "baseline") -> dict[tuple[str, str], Comparison]:
    made = compare(outcomes, reference, tau=tau, rng=rng, resamples=500)
    return {(one.a, one.attack): one for one in made}


def outcomes(shift: float, *, documents: int = 40) -> Outcomes:
    """A reference, an arm like it, and one whose every document loses `shift` more or less."""
    noise = np.random.default_rng(0).normal(0.3, 0.1, size=(3, len(ATTACKS), documents))
    noise[2] = noise[0] + shift + 0.01 * noise[2]
    return {
        arm: {
            attack: AttackOutcome(deltas={f"d{number}": float(delta) for number, delta in enumerate(values)})
            for attack, values in zip(ATTACKS, rows, strict=True)
        }
        for arm, rows in zip(("baseline", "absinit", "nonneg"), noise, strict=True)
    }


def test_numbers_by_hand() -> None:
    def outcome(*deltas: float) -> AttackOutcome:
        return AttackOutcome.of({"records": [{"doc_id": f"d{i}", "delta": delta} for i, delta in enumerate(deltas)]})

    made = found(
        {
            "baseline": {"uat": outcome(0.0, 0.1, 0.25, 1.0)},
            "nonneg": {"uat": outcome(0.5, 0.5, 0.5, 0.0)},
        }
    )["nonneg", "uat"]
    assert (made.a, made.b, made.documents, made.tau) == ("nonneg", "baseline", 4, 0.25)
    assert made.diff == pytest.approx((0.5 + 0.4 + 0.25 - 1.0) / 4)
    assert made.ci95.low < made.diff < made.ci95.high
    # A document that lost exactly tau is one where the attack succeeded: (b, c) = (2, 1).
    assert made.mcnemar_p == made.holm_p == mcnemar(2, 1)


def test_an_arm_that_is_hurt_less_is_seen_and_one_that_is_not_is_not() -> None:
    made = found(outcomes(-0.2))
    assert len(made) == 4
    for attack in ATTACKS:
        better, same = made["nonneg", attack], made["absinit", attack]
        assert better.ci95.high < 0
        assert better.holm_p < 0.01
        assert same.ci95.low < 0 < same.ci95.high
        assert same.detectable > abs(same.diff)
        assert same.holm_p > 0.05


def test_the_correction_is_over_all_arms_and_attacks() -> None:
    made = found(outcomes(-0.2))
    assert {key: one.holm_p for key, one in made.items()} == holm({key: one.mcnemar_p for key, one in made.items()})
    # Alone in its family, a comparison is not corrected.
    alone = outcomes(-0.2)
    pair = {arm: {"uat": alone[arm]["uat"]} for arm in ("baseline", "nonneg")}
    assert found(pair)["nonneg", "uat"].holm_p == made["nonneg", "uat"].mcnemar_p < made["nonneg", "uat"].holm_p


@given(st.floats(-1, 1), st.permutations(["baseline", "absinit", "nonneg"]))
def test_no_interval_depends_on_what_else_is_compared(shift: float, order: list[str]) -> None:
    given_ = outcomes(shift, documents=5)
    whole = found({arm: given_[arm] for arm in order})
    for arm in ("absinit", "nonneg"):
        pair = found({"baseline": given_["baseline"], arm: given_[arm]})
        for attack in ATTACKS:
            assert pair[arm, attack].ci95 == whole[arm, attack].ci95


def test_arms_with_the_same_rises_have_no_difference() -> None:
    given_ = outcomes(0.0)
    given_["nonneg"] = given_["baseline"]
    for attack in ATTACKS:
        made = found(given_)["nonneg", attack]
        assert (made.diff, made.ci95.low, made.ci95.high, made.detectable, made.mcnemar_p) == (0, 0, 0, 0, 1)


def test_what_compares_nothing_or_other_things_is_refused() -> None:
    given_ = outcomes(0.1)
    for wrong in ({}, {"baseline": given_["baseline"]}, {"nonneg": given_["nonneg"]}, {arm: {} for arm in given_}):
        with pytest.raises(DataError, match="a comparison with 'baseline' of"):
            found(wrong)
    with pytest.raises(DataError, match="uat was run on one of nonneg and baseline only"):
        found(given_ | {"nonneg": {"hotflip_greedy": given_["nonneg"]["hotflip_greedy"]}})
    other = {attack: AttackOutcome(deltas={"z": 0.1, "y": 0.2}) for attack in ATTACKS}
    with pytest.raises(DataError, match="42 documents are in one of the two arms only"):
        found(given_ | {"nonneg": other})


def test_the_table_of_a_study_needs_no_torch() -> None:
    code = "import sys; import trackyard.evaluate.comparison; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
