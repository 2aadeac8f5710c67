"""Building a plan: a pure function of data fingerprints, lengths, mixture, budget and seed.

Source: design section 1; molmo2 spec sections 4.5 and 9.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackyard.digest import digest_bytes, digest_file, digest_json, short
from trackyard.durable import atomic_directory
from trackyard.errors import ConfigError
from trackyard.plan.draw import draw_order, row_of
from trackyard.plan.mixture import Mixture, MixtureParameters, rates
from trackyard.plan.packing import IMAGE_WEIGHT, POOL, Budget, pack_stream
from trackyard.plan.plan import ARRAYS, DOCUMENT, OFFSETS, ROWS, SCHEMA, STEPS, Plan, fingerprint
from trackyard.plan.summary import summarise
from trackyard.progress import track
from trackyard.schema import write_document

ALGORITHM = 1
"""Raised whenever the same inputs would give another plan, so that an old plan is never taken for a new one."""
BLOCK = 1 << 14
"""Draws computed at once."""

Ints = NDArray[np.integer[Any]]


@dataclass(frozen=True, kw_only=True)
class DatasetInput:
    """Usable rows of one dataset and their lengths, all arrays [n] aligned.

    rows: row numbers in the snapshot; tokens: sequence length with visual tokens; visual: visual tokens; inputs: image
    crops and video frames; labels: tokens that carry loss. excluded: rows left out of `rows`, by reason.
    """

    manifest_fingerprint: str
    index_fingerprint: str
    rows: Ints
    tokens: Ints
    visual: Ints
    inputs: Ints
    labels: Ints
    excluded: Mapping[str, int]

    def __post_init__(self) -> None:
        lengths = {name: len(getattr(self, name)) for name in ("rows", "tokens", "visual", "inputs", "labels")}
        if len(set(lengths.values())) != 1:
            raise ConfigError(
                what=f"index columns of different lengths: {lengths}",
                why="lengths would be read from the wrong rows",
                fix="`rm -r artifacts/index` and run the stage again: rows are measured anew",
            )


@dataclass(frozen=True, kw_only=True)
class PlanInputs:
    """All that a plan depends on.

    packs_per_step: B; image_weight: tokens one input is worth, 1 in stage 1; strict: refuse an incomplete mixture.
    """

    datasets: Mapping[str, DatasetInput]
    mixture: MixtureParameters
    budget: Budget
    packs_per_step: int
    steps: int
    seed: int
    image_weight: int = IMAGE_WEIGHT
    strict: bool = False

    def __post_init__(self) -> None:
        if self.steps < 1 or self.packs_per_step < 1 or self.image_weight < 0:
            raise ConfigError(
                what=f"plan of {self.steps} steps with {self.packs_per_step} packs, image weight {self.image_weight}",
                why="a plan has at least one pack, and a negative weight would pack images last",
                fix="set steps and batch size to at least 1 and the image weight to at least 0",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Drawn:
    """A block of the draw order, arrays [k]. dataset: number in the plan; place: position in its columns."""

    entry: Ints
    dataset: Ints
    place: Ints
    epoch: Ints
    tokens: Ints
    inputs: Ints


def build_plan(*, inputs: PlanInputs, cache: Path) -> Plan:
    """Build the plan in `cache`/<short digest of the inputs>/, or open the one that is there.

    The same inputs give the same bytes. Raises ConfigError for a mixture that cannot be drawn and a row longer than the
    budget, DataError if the plan that is there is damaged.
    """
    mixture = rates(
        inputs.mixture, {name: len(data.rows) for name, data in inputs.datasets.items()}, strict=inputs.strict
    )
    named = {entry.dataset for entry in mixture.entries}
    datasets = {name: inputs.datasets[name] for name in sorted(named & set(inputs.datasets))}
    for name, data in datasets.items():
        _require_fit(name, data, inputs.budget)
    document = _inputs_document(inputs, mixture, datasets)
    directory = cache / short(digest_json(document))
    if not directory.exists():
        arrays, drawn = _pack_all(inputs, mixture, datasets)
        summary = summarise(
            mixture, entry=drawn.entry, tokens=drawn.tokens, steps=arrays[STEPS], budget=inputs.budget,
            usable={name: len(data.rows) for name, data in datasets.items()},
            excluded={name: dict(data.excluded) for name, data in datasets.items()},
            packs=inputs.steps * inputs.packs_per_step,
        )  # fmt: skip
        _write(directory, document, summary, arrays)
    return Plan.open(directory)


def _inputs_document(inputs: PlanInputs, mixture: Mixture, datasets: Mapping[str, DatasetInput]) -> dict[str, Any]:
    """The identity of the inputs. Datasets that the mixture does not name are no part of it."""
    return {
        "algorithm": ALGORITHM,
        "datasets": [
            {
                "name": name,
                "manifest": data.manifest_fingerprint,
                "index": data.index_fingerprint,
                "usable": len(data.rows),
                "columns": _columns_digest(data),
                "excluded": dict(data.excluded),
            }
            for name, data in datasets.items()
        ],
        "mixture": inputs.mixture.model_dump(mode="json"),
        # In order, since order breaks ties between draws and canonical JSON forgets the order of keys.
        "rates": [[entry.name, entry.dataset, entry.rate] for entry in mixture.drawn],
        "budget": {"tokens": inputs.budget.tokens, "inputs": inputs.budget.inputs},
        "packs_per_step": inputs.packs_per_step,
        "steps": inputs.steps,
        "seed": inputs.seed,
        "image_weight": inputs.image_weight,
        "pool": POOL,
        "strict": inputs.strict,
    }


def _columns_digest(data: DatasetInput) -> str:
    columns = np.stack([data.rows, data.tokens, data.visual, data.inputs, data.labels]).astype("<i8")
    return digest_bytes(columns.tobytes())


def _require_fit(name: str, data: DatasetInput, budget: Budget) -> None:
    wrong = (data.tokens > budget.tokens) | (data.tokens < 1) | (data.inputs > budget.inputs) | (data.inputs < 0)
    for place in np.flatnonzero(wrong)[:1]:
        budget.require_fit(int(data.tokens[place]), int(data.inputs[place]), row=f"row {data.rows[place]} of {name}")


def _pack_all(
    inputs: PlanInputs, mixture: Mixture, datasets: Mapping[str, DatasetInput]
) -> tuple[dict[str, NDArray[Any]], _Drawn]:
    """Draw and pack every step; the arrays of the plan, and the draws in draw order."""
    blocks: list[_Drawn] = []
    total = inputs.steps * inputs.packs_per_step

    def lengths() -> Iterator[tuple[int, int]]:
        for block in _draws(mixture, datasets, inputs.seed):
            blocks.append(block)
            yield from zip(block.tokens.tolist(), block.inputs.tolist(), strict=True)

    packs = pack_stream(lengths(), budget=inputs.budget, total=total, image_weight=inputs.image_weight)
    offsets = np.zeros(total + 1, dtype="<i8")
    emitted = array("q")
    for number, pack in enumerate(track(packs, label="plan: packing", total=total)):
        emitted.extend(pack)
        offsets[number + 1] = len(emitted)
    order = np.frombuffer(emitted, dtype=np.int64)
    # The last block was computed as a whole; what the packs do not hold was never drawn.
    drawn = _Drawn(
        **{
            field: np.concatenate([getattr(block, field) for block in blocks])[: len(order)]
            for field in _Drawn.__dataclass_fields__
        }
    )
    dataset, place = drawn.dataset[order], drawn.place[order]
    first = offsets[: -1 : inputs.packs_per_step]
    table = [
        *(np.add.reduceat(_gather(datasets, column, dataset, place), first) for column in
          ("tokens", "visual", "inputs", "labels")),
        np.diff(offsets[:: inputs.packs_per_step]),
    ]  # fmt: skip
    rows = np.stack([dataset, _gather(datasets, "rows", dataset, place), drawn.epoch[order]], axis=1)
    arrays = {ROWS: rows.astype("<i4"), OFFSETS: offsets, STEPS: np.stack(table, axis=1).astype("<i8")}
    return arrays, drawn


def _draws(mixture: Mixture, datasets: Mapping[str, DatasetInput], seed: int) -> Iterator[_Drawn]:
    """The endless draw order in blocks. Two entries of one dataset share its epochs, so that none repeats a row."""
    names = list(datasets)
    entries = mixture.drawn
    dataset_of = np.array([names.index(entry.dataset) for entry in entries])
    taken = dict.fromkeys(names, 0)
    start = 0
    while True:
        entry, _ = draw_order([item.rate for item in entries], start, start + BLOCK)
        start += BLOCK
        dataset = dataset_of[entry]
        place, epoch = np.zeros_like(entry), np.zeros_like(entry)
        for number, name in enumerate(names):
            here = np.flatnonzero(dataset == number)
            if here.size:
                numbers = taken[name] + np.arange(here.size)
                place[here], epoch[here] = row_of(seed, name, len(datasets[name].rows), numbers)
                taken[name] += here.size
        yield _Drawn(
            entry=entry, dataset=dataset, place=place, epoch=epoch,
            tokens=_gather(datasets, "tokens", dataset, place), inputs=_gather(datasets, "inputs", dataset, place),
        )  # fmt: skip


def _gather(datasets: Mapping[str, DatasetInput], column: str, dataset: Ints, place: Ints) -> Ints:
    """Values [k] of an index column at `place` [k] of dataset number `dataset` [k]."""
    values = np.zeros(len(dataset), dtype=np.int64)
    for number, data in enumerate(datasets.values()):
        here = dataset == number
        values[here] = getattr(data, column)[place[here]]
    return values


def _write(
    directory: Path, document: dict[str, Any], summary: dict[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> None:
    """Write the plan directory; one that another process finished meanwhile is as good, since plans are functions."""
    try:
        with atomic_directory(directory) as partial:
            for name in ARRAYS:
                np.save(partial / name, arrays[name], allow_pickle=False)
            files = {name: digest_file(partial / name) for name in ARRAYS}
            write_document(
                partial / DOCUMENT,
                SCHEMA,
                {
                    "fingerprint": fingerprint(document, files),
                    "inputs": document,
                    "files": files,
                    "summary": summary,
                },
            )
    except OSError:
        if not directory.is_dir():
            raise
