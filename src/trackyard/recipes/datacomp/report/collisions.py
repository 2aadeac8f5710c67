"""The alarm for a branch that nobody uses: two checkpoints whose predictions are the same to the last bit.

A published study had eight checkpoints of which four were equal, because no picture reached what they differed in. A
digest is over answers, text and likelihoods (`evaluating.scoring.predictions_digest`), so that two models which merely
answer alike do not collide. Source: theworld spec sections 6 and 17.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

from trackyard.errors import DataError
from trackyard.recipes.datacomp.cells import BASE, NO_WORLD
from trackyard.recipes.datacomp.parameters import DatacompParameters
from trackyard.recipes.datacomp.results import PIPELINE, Result

RANDOM = "random_projection"
LEAST_ITEMS = 50
"""Of a set, from which on equal predictions are no accident."""


class Collision(DataError):
    """Two results are one, or two that must be one are not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Collisions:
    """compared: pairs of cells and sets with different weights that were compared; none of them is equal.

    equal: pairs that were to be equal, and are. too_small: sets with fewer than LEAST_ITEMS items, of which nothing
    would follow.
    """

    compared: int
    equal: tuple[tuple[str, str, str], ...]
    too_small: tuple[str, ...]


def refuse_collisions(parameters: DatacompParameters, sets: Mapping[str, Mapping[str, Result]]) -> Collisions:
    """sets: results by set, then by the label of a cell. Collision for pairs that are equal and may not be, or that
    are not and must be: a branch that is off, or whose gate is closed, leaves the base model while Gemma is frozen."""
    alike_base = {BASE}
    alike_base |= set() if parameters.training.thawed_rates else {NO_WORLD}
    # A gate that is closed before training adds exactly nothing.
    alike_base |= {RANDOM} if parameters.world.fusion == "add" else set()
    same = {cell.label for cell in parameters.evaluated.values() if cell.name in alike_base}
    compared, equal = 0, []
    for name, found in sets.items():
        digests = {label: result.body["predictions_digest"] for label, result in found.items()}
        items = next(iter(found.values())).body["n"]
        for first, second in combinations(digests, 2):
            alike = digests[first] == digests[second]
            if {first, second} <= same:
                if not alike:
                    raise _differ(name, first, second)
                equal.append((name, first, second))
            elif items >= LEAST_ITEMS:
                compared += 1
                if alike:
                    raise _collide(name, first, second, items)
    small = tuple(name for name, found in sets.items() if next(iter(found.values())).body["n"] < LEAST_ITEMS)
    return Collisions(compared=compared, equal=tuple(equal), too_small=small)


def _collide(name: str, first: str, second: str, items: int) -> Collision:
    return Collision(
        what=f"{first} and {second} have the same answers and likelihoods on all {items} items of {name}",
        why="different weights, or different latents, never give that: what they differ in was not used",
        fix="see that both exports differ (artifacts/datacomp/export) and that the audit of the branch passes; remove "
        f"the results of {second}; then: dvc repro {PIPELINE}",
    )


def _differ(name: str, first: str, second: str) -> Collision:
    return Collision(
        what=f"{first} and {second} differ on {name}",
        why="Gemma is frozen, so that with the branch off, or its gate closed, this is the base model exactly",
        fix="see that prompts and batches are the same for both, and that no frozen weight has changed (the digests in "
        f"artifacts/datacomp/train); then: dvc repro {PIPELINE}",
    )
