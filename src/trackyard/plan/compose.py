"""Draw, look up lengths, pack, and write the arrays of the plan: a stream whose memory does not grow with the plan.

Only the pool of the packer, one block of draws, the offsets of the packs and the sums of the steps are held.
Source: molmo2 spec sections 4.5 and 9.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np

from trackyard.errors import ConfigError
from trackyard.plan.arrays import ArrayWriter
from trackyard.plan.draw import Draws
from trackyard.plan.inputs import PlanInputs
from trackyard.plan.packing import Rows, pack_stream
from trackyard.plan.plan import EPOCH, EPOCHS, OFFSET, OFFSETS, ROW_NUMBER, ROWS, STEPS
from trackyard.plan.row_table import COLUMNS, ROW, RowTable
from trackyard.plan.tally import Tally
from trackyard.progress import track

BLOCK = 1 << 15
"""Draws computed at once."""
DRAW = np.dtype([*((name, ROW[name]) for name in COLUMNS), ("epoch", "<u4"), ("entry", "<u2"), ("dataset", "<u2")])
"""A draw on its way through the packer."""


def compose(inputs: PlanInputs, *, draws: Draws, table: RowTable, directory: Path) -> Tally:
    """Write the arrays of the plan to `directory` and return its sums. table: rows of the datasets of `draws`."""
    tally = Tally(steps=inputs.steps, packs_per_step=inputs.packs_per_step, entries=len(draws.rates))
    for _ in track(_packs(inputs, draws, table, directory, tally), label="plan: packing", total=inputs.packs):
        pass
    np.save(directory / OFFSETS, tally.offsets, allow_pickle=False)
    np.save(directory / STEPS, tally.steps.astype("<i8"), allow_pickle=False)
    return tally


def _packs(inputs: PlanInputs, draws: Draws, table: RowTable, directory: Path, tally: Tally) -> Iterator[int]:
    """Number after number of packs whose rows are written and counted."""
    packed = pack_stream(
        _blocks(draws, table), budget=inputs.budget, total=inputs.packs, image_weight=inputs.image_weight
    )
    with ArrayWriter(directory / ROWS, ROW_NUMBER) as numbers, ArrayWriter(directory / EPOCHS, EPOCH) as epochs:
        for rows, sizes in packed:
            _require_countable(rows, tally.rows, draws)
            numbers.append(rows["row"])
            epochs.append(rows["epoch"])
            first = tally.packs
            tally.add(rows, sizes)
            yield from range(first, tally.packs)


def _blocks(draws: Draws, table: RowTable) -> Iterator[Rows]:
    for start in count(0, BLOCK):
        entry, dataset, place, epoch = draws.block(start, start + BLOCK)
        found = table.of(dataset, place)
        block = np.empty(BLOCK, DRAW)
        for name in COLUMNS:
            block[name] = found[name]
        block["epoch"], block["entry"], block["dataset"] = epoch, entry, dataset
        yield block


def _require_countable(rows: Rows, before: int, draws: Draws) -> None:
    """ConfigError where a plan would need larger numbers than its arrays hold."""
    most_epochs, most_rows = np.iinfo(EPOCH).max, np.iinfo(OFFSET).max
    often = np.flatnonzero(rows["epoch"] > most_epochs)
    if often.size:
        number = int(rows["dataset"][often[0]])
        raise ConfigError(
            what=f"{draws.names[number]} with {draws.sizes[number]} rows would be gone through over {most_epochs:,} "
            "times",
            why="so many repeats of so few rows teach nothing, and a plan counts epochs in 16 bits",
            fix="lower its rate, set max_epochs in the mixture, or bring more rows",
        )
    if before + len(rows) > most_rows:
        raise ConfigError(
            what=f"a plan of more than {most_rows:,} rows",
            why="a plan counts its rows in 31 bits",
            fix="lower the steps of the stage, and train on from its last checkpoint as another stage",
        )
