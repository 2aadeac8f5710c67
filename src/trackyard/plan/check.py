"""Re-examining a plan from the indexed lengths: what must hold of every pack and row is looked at again, one by one.

A plan is a pure function of its inputs, so building it again would prove that the same code gives the same bytes, no
more. Here the promises themselves are checked (molmo2 spec sections 4.5 and 9): budgets, no empty pack, usable rows
only, no repetition within an epoch, exactly the first draws of the mixture, and the table of steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trackyard.errors import IdentityError
from trackyard.plan.due import Due, due_draws
from trackyard.plan.inputs import DatasetInput
from trackyard.plan.plan import STEP_COLUMNS, Plan
from trackyard.plan.planned import Places

CHUNK = 1 << 19
"""Rows looked at together, give or take a step: memory stays flat however long the plan is."""
SHOWN = 20
"""Problems that are told one by one; the others are counted."""

Int64s = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and where. step, slot: None where it concerns a whole step or the whole plan."""

    kind: str
    what: str
    step: int | None = None
    slot: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """What was examined and found. counts: problems by kind, all of them; problems: the first, in detail."""

    steps: int
    packs: int
    rows: int
    counts: Mapping[str, int]
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        return not self.counts


class _Found:
    """Problems as they turn up: each kind is counted, the first are kept."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.kept: list[Problem] = []

    def add(self, kind: str, what: str, *, step: int | None = None, times: int = 1) -> None:
        self.counts[kind] += times
        if len(self.kept) < SHOWN:
            self.kept.append(Problem(kind, what, step))

    def add_all(
        self, kind: str, places: Int64s, what: Callable[[int], str], where: Callable[[int], tuple[int, int]]
    ) -> None:
        """One problem per place. what: its sentence; where: its step and slot."""
        if places.size:
            self.counts[kind] += len(places)
        for place in places[: max(SHOWN - len(self.kept), 0)].tolist():
            self.kept.append(Problem(kind, what(place), *where(place)))


def check_plan(plan: Plan, datasets: Mapping[str, DatasetInput]) -> Checked:
    """Examine every pack and every row of a plan. datasets: the lengths that it was made from, by name.

    Raises IdentityError if they are not those lengths: then nothing could be said.
    """
    _require_same_data(plan, datasets)
    found = _Found()
    packs = plan.steps * plan.packs_per_step
    if not packs or not len(plan.rows):
        found.add("nothing to examine", f"the plan has {packs} packs and {len(plan.rows)} rows")
    elif _offsets_hold(plan, packs, found):
        places = Places([datasets[name] for name in plan.datasets])
        due = due_draws(plan, [len(data.rows) for data in places.datasets])
        for first, last in _chunks(plan):
            _check_steps(plan, places, due, first, last, found)
        for number, place, epoch, times in due.never_drawn():
            name, row = plan.datasets[number], places.datasets[number].rows[place]
            text = f"row {row} of {name} in epoch {epoch} is due and in no pack, as are {times:,} draws of {name}"
            found.add("draw left out", text, times=times)
    return Checked(
        steps=plan.steps, packs=packs, rows=len(plan.rows), counts=dict(found.counts), problems=tuple(found.kept)
    )


def _require_same_data(plan: Plan, datasets: Mapping[str, DatasetInput]) -> None:
    for stated in plan.inputs["datasets"]:
        name = stated["name"]
        given = datasets.get(name)
        now = None if given is None else (given.manifest_fingerprint, given.index_fingerprint, len(given.rows))
        then = (stated["manifest"], stated["index"], stated["usable"])
        if now != then:
            raise IdentityError(
                what=f"{plan.directory} was made from {name} with manifest, index and rows {then}, here are {now}",
                why="the lengths of other rows say nothing about this plan",
                fix="restore the data of the plan (`git diff data.dvc params.yaml`), or build another with "
                "`trackyard plan build`",
            )


def _offsets_hold(plan: Plan, packs: int, found: _Found) -> bool:
    """Whether the packs can be told apart at all. Empty ones can, and are named where they are."""
    offsets = np.asarray(plan.offsets)
    lengths = (len(offsets) - 1, len(plan.step_table), len(plan.epochs))
    if lengths != (packs, plan.steps, len(plan.rows)):
        stated = f"not {packs}, {plan.steps} and {len(plan.rows)}"
        found.add("arrays of other lengths", f"packs, steps and epochs are {lengths}, {stated}")
        return False
    backwards = int((offsets[1:] < offsets[:-1]).sum())
    if offsets[0] != 0 or offsets[-1] != len(plan.rows) or backwards:
        span = f"from row {offsets[0]} to row {offsets[-1]} of {len(plan.rows)}, {backwards} of them backwards"
        found.add("packs overlap or leave rows out", f"the packs go {span}")
        return False
    return True


def _chunks(plan: Plan) -> Iterator[tuple[int, int]]:
    """Ranges of steps of about CHUNK rows each."""
    first_rows = np.asarray(plan.offsets)[:: plan.packs_per_step]
    first = 0
    while first < plan.steps:
        last = int(np.searchsorted(first_rows, int(first_rows[first]) + CHUNK, "right")) - 1
        last = min(max(last, first + 1), plan.steps)
        yield first, last
        first = last


def _check_steps(plan: Plan, places: Places, due: Due, first: int, last: int, found: _Found) -> None:
    """Steps `first` to `last` - 1: their rows, packs and table."""
    per_step = plan.packs_per_step
    offsets = plan.offsets[first * per_step : last * per_step + 1].astype(np.int64)
    datasets, rows, epochs = plan.rows_between(int(offsets[0]), int(offsets[-1]))
    offsets -= offsets[0]
    place, lengths = places.of(datasets, rows)

    def pack_at(pack: int) -> tuple[int, int]:
        return first + pack // per_step, pack % per_step

    def row_at(row: int) -> tuple[int, int]:
        return pack_at(int(np.searchsorted(offsets, row, "right")) - 1)

    def name(row: int) -> str:
        return f"row {rows[row]} of {plan.datasets[datasets[row]]} in epoch {epochs[row]}"

    known = np.flatnonzero(place >= 0)
    not_due, again = due.draw(datasets[known], place[known], epochs[known])
    found.add_all("no usable row", np.flatnonzero(place < 0), lambda row: f"{name(row)} is not usable", row_at)
    found.add_all("draw not due", known[not_due], lambda row: f"{name(row)} is none of the plan's draws", row_at)
    found.add_all("repeated in an epoch", known[again], lambda row: f"{name(row)} was in a pack before", row_at)

    sums = np.pad(np.cumsum(lengths, axis=0), ((1, 0), (0, 0)))
    packs = sums[offsets[1:]] - sums[offsets[:-1]]
    tokens, inputs, budget = packs[:, 0], packs[:, 2], plan.budget
    found.add_all("empty pack", np.flatnonzero(np.diff(offsets) == 0), lambda pack: "the pack holds no row", pack_at)
    found.add_all(
        "over the budget of tokens",
        np.flatnonzero(tokens > budget.tokens),
        lambda pack: f"the pack has {tokens[pack]:,} tokens, {budget.tokens:,} are allowed",
        pack_at,
    )
    found.add_all(
        "over the budget of inputs",
        np.flatnonzero(inputs > budget.inputs),
        lambda pack: f"the pack has {inputs[pack]:,} inputs, {budget.inputs:,} are allowed",
        pack_at,
    )
    ends = offsets[::per_step]
    table = np.concatenate([sums[ends[1:]] - sums[ends[:-1]], np.diff(ends)[:, None]], axis=1)
    stated = np.asarray(plan.step_table[first:last])
    for step, column in np.argwhere(table != stated).tolist():
        text = f"{stated[step, column]:,} in the table, {table[step, column]:,} in the packs"
        found.add("wrong table of steps", f"{STEP_COLUMNS[column]}: {text}", step=first + step)
