from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.recipes.pile_ffn.made_results import made_study, write_study
from trackyard.evaluate.comparison import Comparison
from trackyard.recipes.pile_ffn.parameters import PileFfnParameters
from trackyard.recipes.pile_ffn.report.claims import (
    CLAIM,
    COMPARED,
    MASKING,
    NO_NOISE,
    PRIMARY,
    RELATIVE,
    SKIPPED,
    Flag,
    claims,
    flags,
    pairs,
    together,
)
from trackyard.recipes.pile_ffn.report.gathering import ATTACKS, Gathered, gather
from trackyard.recipes.pile_ffn.report.table import tabulate
from trackyard.recipes.pile_ffn.results import Result
from trackyard.recipes.pile_ffn.study import Study

BOTH = "nonneg_mlp_both"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    study = made_study(tmp_path_factory.mktemp("study"))
    write_study(study)
    return study


@pytest.fixture(scope="module")
def gathered(study: Study) -> Gathered:
    return gather(study)


@pytest.fixture(scope="module")
def paired(study: Study, gathered: Gathered) -> list[Comparison]:
    return pairs(gathered, study.parameters, resamples=200)


def with_bodies(gathered: Gathered, change: Callable[[str, str, Mapping[str, Any]], Mapping[str, Any]]) -> Gathered:
    """With other bodies of attacks; change: of (stage, cell, body)."""
    results = {
        stage: {name: Result(header=found.header, body=change(stage, name, found.body)) for name, found in by.items()}
        if stage in ATTACKS
        else by
        for stage, by in gathered.results.items()
    }
    return replace(gathered, results=results)


def shifted(body: Mapping[str, Any], nats: float, relative: float) -> Mapping[str, Any]:
    """Every document's rise moved by `nats`."""
    attacks = {
        attack: {
            **block,
            "mean_delta_nats": block["mean_delta_nats"] + nats,
            "relative_not_primary": relative,
            "records": [{**record, "delta": record["delta"] + nats} for record in block["records"]],
        }
        for attack, block in body["attacks"].items()
    }
    return {**body, "attacks": attacks}


def of(parameters: PileFfnParameters, gathered: Gathered, arm: str = BOTH) -> tuple[str, ...]:
    rows = tabulate(gathered, parameters.cells, resamples=100)
    found = claims(parameters, pairs(gathered, parameters, resamples=200), flags(gathered, rows))
    return next(claim for claim in found if claim.arm == arm).missing


def test_families_of_comparisons(paired: list[Comparison]) -> None:
    first = [(pair.a, pair.b) for pair in paired if pair.b.endswith("-42")]
    # Four arms and the degraded control with the baseline, the non-negative arm with its control; four attacks each.
    assert len(paired) == 3 * len(first) == 3 * (5 + 1) * len(COMPARED)
    assert first.count((f"{BOTH}-42", "degraded_mlp_both-42")) == len(COMPARED)
    assert {pair.attack for pair in paired} == set(COMPARED)
    assert not any("untouched" in (pair.a, pair.b) for pair in paired)
    pair = next(pair for pair in paired if (pair.a, pair.attack) == (f"{BOTH}-1337", "uat"))
    assert pair.diff == pytest.approx(0.8 * (0.1 - 0.4))
    # All 8 documents lose 0.1 nats with the baseline, none with the arm; the smallest p of 20 comparisons.
    assert pair.mcnemar_p == 2 / 2**8
    assert pair.holm_p == 20 * pair.mcnemar_p


def test_three_seeds_against_both_references(study: Study, gathered: Gathered) -> None:
    assert of(study.parameters, gathered) == ()
    found = claims(study.parameters, pairs(gathered, study.parameters, resamples=200), [])
    assert [claim.arm for claim in found] == ["nonneg_mlp_in", BOTH]
    both = found[1].to_json()
    assert both == {"arm": BOTH, "admissible": True, "claim": CLAIM, "missing": []}
    assert CLAIM == "robuster than baseline and degraded in nats on >= 3 seeds"


def test_an_arm_without_a_control_of_its_perplexity(study: Study, gathered: Gathered) -> None:
    missing = of(study.parameters, gathered, "nonneg_mlp_in")
    assert missing[0] == "no degraded control of its perplexity"
    assert "hurt less than baseline under uat, beyond the interval, at 0 of 3 seeds" in missing


def test_two_seeds_are_too_few(tmp_path_factory: pytest.TempPathFactory) -> None:
    study = made_study(tmp_path_factory.mktemp("two"), seeds=(42, 1337))
    write_study(study)
    assert of(study.parameters, gather(study)) == ("2 seeds where 3 are needed",)


def test_one_seed_of_three_that_shows_nothing(study: Study, gathered: Gathered) -> None:
    def spoil(stage: str, name: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        return shifted(body, 0.4, 0.0) if name == f"{BOTH}-2024" and stage == "attack_uat" else body

    assert of(study.parameters, with_bodies(gathered, spoil)) == (
        "hurt less than baseline under uat, beyond the interval, at 2 of 3 seeds",
        "hurt less than degraded_mlp_both under uat, beyond the interval, at 2 of 3 seeds",
    )


def test_better_than_the_baseline_and_as_a_worse_model_would_be(study: Study, gathered: Gathered) -> None:
    def spoil(stage: str, name: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        return shifted(body, -0.4, 0.0) if name.startswith("degraded") else body

    missing = of(study.parameters, with_bodies(gathered, spoil))
    assert len(missing) == len(PRIMARY)
    assert all("hurt less than degraded_mlp_both" in reason for reason in missing)


def test_gradients_that_mislead(study: Study, gathered: Gathered) -> None:
    def spoil(stage: str, name: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**body, MASKING: {"uat": True}} if (stage, name) == ("attack_uat", f"{BOTH}-1337") else body

    masked = with_bodies(gathered, spoil)
    assert of(study.parameters, masked) == ("gradients that mislead are suspected under uat",)
    rows = tabulate(masked, study.parameters.cells, resamples=100)
    assert (MASKING, f"{BOTH}-1337", "uat") in [(flag.flag, flag.subject, flag.attack) for flag in flags(masked, rows)]


def test_a_uniformly_worse_model_is_flagged_and_no_more(study: Study, gathered: Gathered) -> None:
    """The published metric calls it robuster: the rise is the baseline's, its clean loss is larger."""

    def worse(stage: str, name: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        if not name.startswith(BOTH):
            return body
        seed = name.removeprefix(f"{BOTH}-")
        theirs = gathered.results[stage][f"baseline-{seed}"].body
        attacks = {
            attack: {**block, "relative_not_primary": block["relative_not_primary"] / 2}
            for attack, block in theirs["attacks"].items()
        }
        return {**theirs, "attacks": attacks}

    found = with_bodies(gathered, worse)
    rows = tabulate(found, study.parameters.cells, resamples=100)
    warned = [(flag.subject, flag.attack) for flag in flags(found, rows) if flag.flag == RELATIVE]
    assert [(BOTH, attack) for attack in PRIMARY] == [pair for pair in warned if pair[0] == BOTH]
    assert "hurt less than baseline under uat, beyond the interval, at 0 of 3 seeds" in of(study.parameters, found)
    unspoiled = flags(gathered, tabulate(gathered, study.parameters.cells, resamples=100))
    assert BOTH not in [flag.subject for flag in unspoiled]


def test_steps_that_were_left_out(study: Study, gathered: Gathered) -> None:
    trained = gathered.results["train"]
    name = f"{BOTH}-42"
    less = Result(header=trained[name].header, body={**trained[name].body, "skipped": [3, 4]})
    found = replace(gathered, results={**gathered.results, "train": {**trained, name: less}})
    rows = tabulate(gathered, study.parameters.cells, resamples=100)
    added = set(flags(found, rows)) - set(flags(gathered, rows))
    assert [(flag.flag, flag.subject, flag.meaning[:7]) for flag in added] == [(SKIPPED, name, "2 steps")]


def test_a_control_without_noise(study: Study, gathered: Gathered) -> None:
    made = gathered.results["degrade"]
    name = "degraded_mlp_both-42"
    none = Result(header=made[name].header, body={**made[name].body, "sigma": 0.0})
    found = replace(gathered, results={**gathered.results, "degrade": {**made, name: none}})
    rows = tabulate(gathered, study.parameters.cells, resamples=100)
    added = set(flags(found, rows)) - set(flags(gathered, rows))
    assert [(flag.flag, flag.subject) for flag in added] == [(NO_NOISE, name)]


def test_warnings_that_differ_by_the_attack_stand_together() -> None:
    given = [Flag(flag="f", subject=subject, attack=attack, meaning="m") for subject in "ab" for attack in PRIMARY]
    assert together(given) == [("f", "a", PRIMARY, "m"), ("f", "b", PRIMARY, "m")]
