"""What may be said of the study: arms in pairs, warnings, and whether a non-negative arm may be called robuster.

Source: pile-ffn spec sections 1, 8.2 and 8.4. No arm keeps order by theorem; nothing here says more than what was
measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from trackyard.evaluate.comparison import AttackOutcome, Comparison, compare
from trackyard.evaluate.statistics import RESAMPLES
from trackyard.recipes.pile_ffn.cells import BASELINE, Arm, Cell
from trackyard.recipes.pile_ffn.parameters import PileFfnParameters
from trackyard.recipes.pile_ffn.report.gathering import ATTACKS, Gathered, without_noise
from trackyard.recipes.pile_ffn.report.rows import ArmRow
from trackyard.recipes.pile_ffn.report.table import resampling

PRIMARY = ("uat", "hotflip_greedy")
"""Attacks that a claim is about: the strongest of each kind."""
COMPARED = ("uat", "hotflip_one_shot", "hotflip_greedy", "query")
"""Attacks of a family of comparisons. Random flips and triggers are controls, not attacks."""
SEEDS_NEEDED = 3
TAU = 0.1
"""Nats per token from which on an attack succeeded on a document, in McNemar's test."""
MASKING, RELATIVE = "gradient_masking_suspected", "better_in_relative_terms_only"
SKIPPED, NO_NOISE = "steps_skipped", "control_without_noise"
CLAIM = f"robuster than baseline and degraded in nats on >= {SEEDS_NEEDED} seeds"


@dataclass(frozen=True, kw_only=True, slots=True)
class Flag:
    """A warning. subject: a cell or an arm. attack: what it is about, None where it is about training."""

    flag: str
    subject: str
    attack: str | None
    meaning: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """Of a non-negative arm. missing: what it lacks for `CLAIM`, in words; empty where it may be said."""

    arm: str
    missing: tuple[str, ...]

    @property
    def admissible(self) -> bool:
        return not self.missing

    @property
    def words(self) -> str:
        return CLAIM if self.admissible else f"no claim: {'; '.join(self.missing)}"

    def to_json(self) -> dict[str, Any]:
        return {"arm": self.arm, "admissible": self.admissible, "claim": self.words, "missing": list(self.missing)}


def pairs(gathered: Gathered, parameters: PileFfnParameters, *, resamples: int = RESAMPLES) -> list[Comparison]:
    """Every arm against the baseline of its seed, and every non-negative arm against its degraded control.

    A seed and a reference are a family. Untouched weights are in none: they were attacked at one seed, with other
    random draws than the cells of the other seeds.
    """
    found: list[Comparison] = []
    for seed in parameters.seeds:
        arms = {arm: Cell(arm=arm, seed=seed).name for arm in parameters.seeded}
        families = [(BASELINE, list(parameters.seeded))]
        families += [
            (f"degraded_{variant}", [f"nonneg_{variant}", f"degraded_{variant}"]) for variant in parameters.degraded
        ]
        for reference, family in families:
            found += compare(
                {arms[arm]: _outcomes(gathered, arms[arm]) for arm in family},
                arms[reference],
                tau=TAU,
                rng=lambda cell, attack, to=arms[reference]: resampling(cell, to, attack),  # type: ignore[misc]
                resamples=resamples,
            )
    return found


def flags(gathered: Gathered, rows: Sequence[ArmRow]) -> list[Flag]:
    """What a reader must know before a number of the table is believed."""
    found = [
        Flag(
            flag=MASKING,
            subject=name,
            attack=attack,
            meaning="an attack without gradients does more: resistance to this one is no robustness",
        )
        for stage in ATTACKS
        for name, result in gathered.results[stage].items()
        for attack, suspected in result.body[MASKING].items()
        if suspected
    ]
    found += [
        Flag(
            flag=SKIPPED,
            subject=name,
            attack=None,
            meaning=f"{len(result.body['skipped'])} steps were not applied: its budget is smaller than that of others",
        )
        for name, result in gathered.results["train"].items()
        if result.body["skipped"]
    ]
    found += [
        Flag(
            flag=NO_NOISE,
            subject=name,
            attack=None,
            meaning="the arm that it is matched to is as good as the baseline, so that this is the baseline once more",
        )
        for name in without_noise(gathered.results)
    ]
    baseline = next(row for row in rows if row.arm == BASELINE)
    for row in rows:
        for attack in PRIMARY:
            ours, theirs = row.attacks[attack], baseline.attacks[attack]
            if (
                ours.relative_not_primary.mean < theirs.relative_not_primary.mean
                and ours.delta_nats.mean >= theirs.delta_nats.mean
            ):
                found.append(
                    Flag(
                        flag=RELATIVE,
                        subject=row.arm,
                        attack=attack,
                        meaning="its rise is smaller than the baseline's as a share of its own loss, not in nats",
                    )
                )
    return found


def together(warnings: Sequence[Flag]) -> list[tuple[str, str, tuple[str, ...], str]]:
    """Warnings that differ by the attack alone as one: flag, subject, attacks, meaning."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for warning in warnings:
        attacks = found.setdefault((warning.flag, warning.subject, warning.meaning), [])
        attacks += [warning.attack] if warning.attack else []
    return [(flag, subject, tuple(attacks), meaning) for (flag, subject, meaning), attacks in found.items()]


def claims(parameters: PileFfnParameters, paired: Sequence[Comparison], warnings: Sequence[Flag]) -> list[Claim]:
    """Of each non-negative arm, whether it was hurt less than both references, at every seed of at least three.

    Every interval of an arm must lie below 0, so that testing several makes a claim harder, not easier.
    """
    by_pair = {(pair.a, pair.b, pair.attack): pair for pair in paired}
    return [
        Claim(arm=name, missing=tuple(_missing(name, parameters, by_pair, warnings)))
        for name in parameters.arms
        if Arm.named(name).kind == "nonneg"
    ]


def _missing(
    name: str,
    parameters: PileFfnParameters,
    by_pair: Mapping[tuple[str, str, str], Comparison],
    warnings: Sequence[Flag],
) -> list[str]:
    missing = []
    if len(parameters.seeds) < SEEDS_NEEDED:
        missing.append(f"{len(parameters.seeds)} seeds where {SEEDS_NEEDED} are needed")
    variant = Arm.named(name).variant
    references = [BASELINE]
    if variant in parameters.degraded:
        references.append(f"degraded_{variant}")
    else:
        missing.append("no degraded control of its perplexity")
    cells = [Cell(arm=name, seed=seed) for seed in parameters.seeds]
    for reference in references:
        for attack in PRIMARY:
            compared = [by_pair[cell.name, Cell(arm=reference, seed=cell.seed).name, attack] for cell in cells]
            less = sum(pair.ci95.high < 0 for pair in compared)
            if less < len(compared):
                seeds = f"{less} of {len(compared)} seeds"
                missing.append(f"hurt less than {reference} under {attack}, beyond the interval, at {seeds}")
    masked = sorted(
        {
            str(flag.attack)
            for flag in warnings
            if flag.flag == MASKING and flag.subject in {cell.name for cell in cells}
        }
    )
    if masked:
        missing.append(f"gradients that mislead are suspected under {', '.join(masked)}")
    return missing


def _outcomes(gathered: Gathered, cell: str) -> dict[str, AttackOutcome]:
    blocks = {
        attack: block for stage in ATTACKS for attack, block in gathered.results[stage][cell].body["attacks"].items()
    }
    return {attack: AttackOutcome.of(blocks[attack]) for attack in COMPARED}
