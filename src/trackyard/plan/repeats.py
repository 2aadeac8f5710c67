"""Limited repeats: no row is drawn more often than `max_epochs` times on average, whatever the rates ask for.

A small dataset with a fixed rate is gone through dozens of times in a long stage. Here its rate is cut to what its rows
allow, and what is cut goes to the other entries of its group, then to the other groups (as for a missing set, molmo2
spec section 4.4). How many rows a plan draws depends on the rates themselves, since rows differ in length, so the rates
are those of a fixed point, found by bisection.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trackyard.errors import ConfigError
from trackyard.plan.mixture import Mixture, MixtureEntry

if TYPE_CHECKING:
    # Needs NumPy, which reading a mixture does without.
    from trackyard.plan.packing import Budget

PRECISION = 1e-9
"""Of the number of draws at the fixed point, relative. The draws are never taken for fewer than they are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Capped:
    """A dataset whose rate was cut. Rates are those of all its entries together; epochs: draws per usable row."""

    dataset: str
    rows: int
    asked_rate: float
    asked_epochs: float
    rate: float
    epochs: float


def draws_bound(
    mixture: Mixture, *, mean_tokens: Mapping[str, float], mean_inputs: Mapping[str, float], budget: Budget, packs: int
) -> float:
    """Rows that `packs` packs hold if none wastes room: by the mean row of the mixture, the tighter of both budgets.

    mean_tokens, mean_inputs: of the usable rows of each dataset.
    """
    tokens = math.fsum(entry.rate * mean_tokens[entry.dataset] for entry in mixture.drawn)
    inputs = math.fsum(entry.rate * mean_inputs[entry.dataset] for entry in mixture.drawn)
    return packs * min(budget.tokens / tokens, budget.inputs / inputs if inputs else math.inf)


def cap_rates(
    mixture: Mixture,
    *,
    rows: Mapping[str, int],
    mean_tokens: Mapping[str, float],
    mean_inputs: Mapping[str, float],
    budget: Budget,
    packs: int,
    packs_per_step: int,
    max_epochs: float,
) -> tuple[Mixture, tuple[Capped, ...]]:
    """The mixture with no dataset above `max_epochs` in a plan of `packs` packs, and what was cut.

    rows: usable rows of every dataset that is drawn from; its entries share them. The same mixture comes back where no
    limit binds. Entries keep their order, and no dataset that is not cut is drawn less.
    Raises ConfigError, with the steps that the data suffice for, if every dataset would be repeated more often.
    """

    def bound(found: Mixture) -> float:
        return draws_bound(found, mean_tokens=mean_tokens, mean_inputs=mean_inputs, budget=budget, packs=packs)

    asked = bound(mixture)
    shares = _by_dataset(mixture.drawn, [entry.rate for entry in mixture.drawn])
    if all(share * asked <= max_epochs * rows[name] for name, share in shares.items()):
        return mixture, ()
    # Everything is at its limit here; more rows there are not.
    most = max_epochs * sum(rows[name] for name in shares)
    needed = bound(_levelled(mixture, rows, most, max_epochs))
    if needed > most:
        enough = math.floor(packs * (most / needed) / packs_per_step)
        raise ConfigError(
            what=f"{packs // packs_per_step:,} steps draw {needed:,.0f} rows, and at most {max_epochs:g} epochs of "
            f"{len(shares)} datasets are {most:,.0f}",
            why=f"every dataset would be repeated more often; the data suffice for {enough:,} steps",
            fix=f"set the steps of the stage to at most {enough:,}, raise mixture.max_epochs, or bring more data",
        )
    low, high = 0.0, float(most)
    while high - low > PRECISION * high:
        draws = (low + high) / 2
        if bound(_levelled(mixture, rows, draws, max_epochs)) > draws:
            low = draws
        else:
            high = draws
    capped = _levelled(mixture, rows, high, max_epochs)
    return capped, _cuts(mixture, capped, rows, asked, bound(capped))


def cap_for_draws(
    mixture: Mixture, *, rows: Mapping[str, int], draws: float, max_epochs: float
) -> tuple[Mixture, tuple[Capped, ...]]:
    """The same where the number of draws is given. A dataset that is not in `rows`, of unknown size, is not cut.

    Raises ConfigError if `draws` rows are more than all datasets have at `max_epochs`.
    """
    shares = _by_dataset(mixture.drawn, [entry.rate for entry in mixture.drawn])
    most = max_epochs * math.fsum(rows.get(name, math.inf) for name in shares)
    if draws > most:
        raise ConfigError(
            what=f"{draws:,.0f} rows are drawn, and at most {max_epochs:g} epochs of {len(shares)} datasets are "
            f"{most:,.0f}",
            why=f"every dataset would be repeated more often; the data suffice for {most / draws:.1%} of the steps",
            fix="train fewer steps, raise --max-epochs, or bring more data",
        )
    capped = _levelled(mixture, rows, draws, max_epochs)
    return capped, _cuts(mixture, capped, rows, draws, draws)


def _levelled(mixture: Mixture, rows: Mapping[str, int], draws: float, max_epochs: float) -> Mixture:
    """The mixture with every dataset at or below its limit for this many draws, which all limits together allow."""
    drawn = mixture.drawn
    limits = {entry.dataset: max_epochs * rows.get(entry.dataset, math.inf) / draws for entry in drawn}
    found = dict(zip((entry.name for entry in drawn), _share_out(drawn, limits), strict=True))
    entries = tuple(replace(entry, rate=found.get(entry.name, 0.0)) for entry in mixture.entries)
    distance = 0.5 * math.fsum(abs(entry.rate - entry.reference_rate) for entry in entries)
    return replace(mixture, entries=entries, distance=distance)


def _share_out(entries: Sequence[MixtureEntry], limits: Mapping[str, float]) -> list[float]:
    """Rates of the entries, cut to the limits of their datasets, until none is above.

    A rate that is not cut only grows, so a dataset that was once at its limit stays there, and every round fixes at
    least one more.
    """
    rate = [entry.rate for entry in entries]
    weights: dict[str, float] = {}
    for entry in entries:
        weights[entry.group] = weights.get(entry.group, 0.0) + entry.rate
    fixed: set[str] = set()
    while True:
        shares = _by_dataset(entries, rate)
        over = {name: limits[name] / shares[name] for name in shares.keys() - fixed if shares[name] > limits[name]}
        if not over:
            return rate
        fixed |= over.keys()
        freed = dict.fromkeys(weights, 0.0)
        free: dict[str, list[int]] = {group: [] for group in weights}
        for number, entry in enumerate(entries):
            if entry.dataset in over:
                cut = rate[number] * over[entry.dataset]
                freed[entry.group] += rate[number] - cut
                rate[number] = cut
            elif entry.dataset not in fixed:
                free[entry.group].append(number)
        homeless = math.fsum(mass for group, mass in freed.items() if not free[group])
        hosts = math.fsum(weights[group] for group in weights if free[group])
        for group, members in free.items():
            if members:
                mass = math.fsum(rate[number] for number in members)
                factor = 1 + (freed[group] + homeless * weights[group] / hosts) / mass
                for number in members:
                    rate[number] *= factor


def _by_dataset(entries: Sequence[MixtureEntry], rate: Sequence[float]) -> dict[str, float]:
    shares: dict[str, float] = {}
    for entry, value in zip(entries, rate, strict=True):
        shares[entry.dataset] = shares.get(entry.dataset, 0.0) + value
    return shares


def _cuts(
    mixture: Mixture, capped: Mixture, rows: Mapping[str, int], asked_draws: float, draws: float
) -> tuple[Capped, ...]:
    asked = _by_dataset(mixture.drawn, [entry.rate for entry in mixture.drawn])
    found = _by_dataset(capped.drawn, [entry.rate for entry in capped.drawn])
    return tuple(
        Capped(
            dataset=name, rows=rows[name], asked_rate=asked[name], asked_epochs=asked[name] * asked_draws / rows[name],
            rate=found[name], epochs=found[name] * draws / rows[name],
        )
        for name in asked
        if found[name] < asked[name]
    )  # fmt: skip
