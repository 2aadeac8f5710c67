"""What to draw from, as the parameter file says it: kinds of mixtures, their numbers, and what is refused of them.

Source: molmo2 spec section 4.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection
from typing import Literal

from pydantic import Field, model_validator

from trackyard.errors import ConfigError
from trackyard.parameters import Parameters


class EntryParameters(Parameters):
    """One entry of a hierarchical group; its mass is `multiplier * sqrt(e)`.

    size: how e follows from the number of rows n. "rows": n; a whole number: min(n, size), a cap;
    a fraction below 1: n * size; "none": 1, the multiplier alone decides.
    dataset: several names make one entry whose mass is divided in proportion to their rows.
    name: only where two entries draw from one dataset.
    """

    dataset: str | tuple[str, ...]
    multiplier: float = 1.0
    size: int | float | Literal["rows", "none"] = "rows"
    name: str | None = None


class GroupParameters(Parameters):
    """Entries that share one weight. Weights need not add up to 1."""

    weight: float
    entries: tuple[EntryParameters, ...]


class MixtureParameters(Parameters):
    """What to draw from.

    kind: fixed takes `ratios` (group -> dataset -> ratio, adding up to 1), hierarchical takes `groups`; sqrt,
    proportional and temperature (rate ~ n^(1/temperature)) take every dataset there is.
    reference_rows: rows of the complete datasets, by name. The reference rates are computed with them, so they are
    needed for a dataset that is absent and whose rate depends on its size.
    max_epochs: how often a row may be drawn on average over the whole plan; what a dataset may not have goes to others
    (`trackyard.plan.repeats`). None: rates are kept, however often that repeats a small dataset.
    loss_weights: factor, by dataset, on the weights of its target tokens; 1 where none is given.
    """

    kind: Literal["fixed", "sqrt", "proportional", "temperature", "hierarchical"]
    ratios: dict[str, dict[str, float]] = Field(default={})
    groups: dict[str, GroupParameters] = Field(default={})
    temperature: float | None = None
    reference_rows: dict[str, int] = Field(default={})
    max_epochs: float | None = None
    loss_weights: dict[str, float] = Field(default={})

    @property
    def datasets(self) -> tuple[str, ...]:
        """Datasets that the configuration names, each once, in its order; none for the flat kinds, which take all."""
        named = [name for ratios in self.ratios.values() for name in ratios]
        for group in self.groups.values():
            for entry in group.entries:
                named += [entry.dataset] if isinstance(entry.dataset, str) else entry.dataset
        return tuple(dict.fromkeys(named))

    @model_validator(mode="after")
    def _check(self) -> MixtureParameters:
        wanted = {"fixed": "ratios", "hierarchical": "groups", "temperature": "temperature"}.get(self.kind)
        for field in ("ratios", "groups", "temperature"):
            if bool(getattr(self, field)) != (field == wanted):
                state = f"without {field}" if field == wanted else f"with {field}"
                raise ConfigError(
                    what=f"mixture of kind {self.kind!r} {state}",
                    why="the rates would not be the ones that the configuration seems to ask for",
                    fix=f"give {wanted or 'neither ratios, groups nor temperature'} for kind {self.kind!r}",
                )
        _check_numbers(self)
        if self.datasets:
            require_known_weights(self, self.datasets)
        return self


def require_known_weights(parameters: MixtureParameters, names: Collection[str]) -> None:
    """ConfigError if a loss weight is given to a dataset that is not among `names`, the datasets of the mixture."""
    unknown = [name for name in parameters.loss_weights if name not in names]
    if unknown:
        near = difflib.get_close_matches(unknown[0], sorted(names), n=1, cutoff=0.5)
        raise ConfigError(
            what=f"loss_weights names {', '.join(map(repr, unknown))}, which the mixture does not draw from"
            + (f"; did you mean {near[0]!r}?" if near else ""),
            why="the weight would be given to no row, and the dataset that was meant would keep weight 1",
            fix="write the name as the mixture does, or remove it from loss_weights",
        )


def _check_numbers(parameters: MixtureParameters) -> None:
    """Every weight, ratio, multiplier, size, row count and limit is positive; ratios add up; caps are whole."""
    numbers = [(f"reference_rows.{name}", float(rows)) for name, rows in parameters.reference_rows.items()]
    numbers += [(f"loss_weights.{name}", factor) for name, factor in parameters.loss_weights.items()]
    if parameters.max_epochs is not None:
        numbers.append(("max_epochs", parameters.max_epochs))
    if parameters.temperature is not None:
        numbers.append(("temperature", parameters.temperature))
    for group, ratios in parameters.ratios.items():
        numbers += [(f"ratios.{group}.{name}", ratio) for name, ratio in ratios.items()]
    for group, body in parameters.groups.items():
        numbers.append((f"groups.{group}.weight", body.weight))
        numbers += [(f"groups.{group}: multiplier of {e.dataset}", e.multiplier) for e in body.entries]
        numbers += [
            (f"groups.{group}: size of {e.dataset}", e.size) for e in body.entries if not isinstance(e.size, str)
        ]
    wrong = [f"{name}={value:g}" for name, value in numbers if value <= 0]
    wrong += [f"{name}={value:g}" for name, value in numbers if ": size of" in name and value > 1 and value % 1]
    wrong += [f"groups.{group} has no entries" for group, body in parameters.groups.items() if not body.entries]
    if parameters.ratios:
        total = math.fsum(ratio for ratios in parameters.ratios.values() for ratio in ratios.values())
        wrong += [f"ratios add up to {total:g}"] if abs(total - 1) > 1e-6 else []
    if wrong:
        raise ConfigError(
            what=f"mixture: {'; '.join(wrong)}",
            why="a rate that is not positive, or ratios that do not add up to 1, draw something else than was meant",
            fix="leave out what should not be drawn; make numbers positive, caps whole, and fixed ratios add up to 1",
        )
