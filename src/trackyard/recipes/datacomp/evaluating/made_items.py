"""Items of the project's own scenes in the forms of the benchmarks. Every set asks about the same scenes.

They are drawn from a series of their own: no scene of the training rows is among them.
Source: issue on the DataComp track (mini); theworld spec section 12.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache

from trackyard.recipes.datacomp.evaluating.items import Item
from trackyard.recipes.datacomp.evaluating.spatial import QUALITATIVE, QUANTITATIVE
from trackyard.recipes.datacomp.scenes import (
    Asked,
    Scene,
    blink,
    caption_choice,
    jpeg,
    qualitative,
    quantitative,
    scene,
    vsr,
)

APART = 1 << 20
"""Added to the seed of the training scenes."""
_AXES = {"left of": "horizontal", "right of": "horizontal", "above": "vertical", "below": "vertical"}


def made_items(name: str, *, seed: int, count: int) -> Iterator[Item]:
    """The first `count` items of a set. seed: of the training scenes."""
    make = _FORMS[name]
    for number in range(count):
        of = scene(APART + seed, number)
        asked, task, meta = make(of, number)
        yield Item(
            id=f"{name}-{number:05d}",
            task=task,
            images=(_picture(of),),
            question=asked.question,
            options=asked.options,
            gold=asked.answer,
            meta=meta,
        )


@cache
def _picture(of: Scene) -> bytes:
    """Drawn once for all sets."""
    return jpeg(of)


_Form = tuple[Asked, str, dict[str, str]]


def _blink(of: Scene, number: int) -> _Form:
    return blink(of, swapped=number % 2 == 1), _AXES[of.relation], {}


def _vsr(of: Scene, number: int) -> _Form:
    return vsr(of, true=number % 2 == 0), _AXES[of.relation], {}


def _captions(of: Scene, _number: int) -> _Form:
    return caption_choice(of), _AXES[of.relation], {}


def _spatial(of: Scene, number: int) -> _Form:
    """Half of them to be answered by yes or no, each as often, and half by a distance."""
    if number % 2:
        return quantitative(of), "distance_data", {"type": QUANTITATIVE}
    asked = qualitative(of, true=number % 4 == 0)
    # The relation that is asked about, which is another than the scene's where the answer is no.
    relation = next(word for word in ("left", "right", "above", "below") if f"ball {word}" in asked.question)
    return asked, f"{relation}_predicate", {"type": QUALITATIVE}


_FORMS: Mapping[str, Callable[[Scene, int], _Form]] = {
    "blink": _blink,
    "vsr": _vsr,
    "spatial": _spatial,
    "captions": _captions,
}
