"""Building a plan: a pure function of data fingerprints, lengths, mixture, budget and seed.

Source: design section 1; molmo2 spec sections 4.5 and 9.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from trackyard.digest import digest_file, digest_json, short
from trackyard.durable import atomic_directory, sweep
from trackyard.exclusive import exclusive
from trackyard.plan.compose import compose
from trackyard.plan.draw import Draws
from trackyard.plan.inputs import DatasetInput, PlanInputs, identity
from trackyard.plan.mixture import Mixture, rates
from trackyard.plan.packing import Budget
from trackyard.plan.plan import ARRAYS, DOCUMENT, SCHEMA, Plan, fingerprint
from trackyard.plan.repeats import Capped, cap_rates
from trackyard.plan.row_table import row_table
from trackyard.plan.summary import summarise
from trackyard.schema import write_document

__all__ = ["DatasetInput", "PlanInputs", "build_plan"]

LOCK = ".lock"
"""Held by the process that builds in the folder of plans."""


def build_plan(*, inputs: PlanInputs, cache: Path) -> Plan:
    """Build the plan in `cache`/<short digest of the inputs>/, or open the one that is there.

    The same inputs give the same bytes. One process builds at a time; others (the ranks of a run ask for the same plan
    at once) wait and open what it made. Raises ConfigError for a mixture that cannot be drawn and a row longer than the
    budget, DataError if the plan that is there is damaged.
    """
    usable = {name: len(data.rows) for name, data in inputs.datasets.items()}
    mixture = rates(inputs.mixture, usable, strict=inputs.strict)
    named = {entry.dataset for entry in mixture.entries}
    datasets = {name: inputs.datasets[name] for name in sorted(named & set(inputs.datasets))}
    for name, data in datasets.items():
        _require_fit(name, data, inputs.budget)
    mixture, capped = _limit_repeats(inputs, mixture, datasets)
    document = identity(inputs, mixture, datasets)
    directory = cache / short(digest_json(document))
    if not directory.exists():
        with exclusive(cache / LOCK, what=str(cache), why="two would build the same plan", wait_s=math.inf):
            sweep(cache, directory.name)
            if not directory.exists():
                _build(directory, document, inputs, mixture, capped, datasets)
    return Plan.open(directory)


def _require_fit(name: str, data: DatasetInput, budget: Budget) -> None:
    for place in budget.too_large(data.tokens, data.inputs)[:1]:
        raise budget.refusal(data.tokens[place], data.inputs[place], row=f"row {data.rows[place]} of {name}")


def _limit_repeats(
    inputs: PlanInputs, mixture: Mixture, datasets: Mapping[str, DatasetInput]
) -> tuple[Mixture, tuple[Capped, ...]]:
    """The mixture with its limit on repeats applied, and what that cut."""
    if inputs.mixture.max_epochs is None:
        return mixture, ()
    used = {entry.dataset: datasets[entry.dataset] for entry in mixture.drawn}
    return cap_rates(
        mixture,
        rows={name: len(data.rows) for name, data in used.items()},
        mean_tokens={name: float(data.tokens.mean()) for name, data in used.items()},
        mean_inputs={name: float(data.inputs.mean()) for name, data in used.items()},
        budget=inputs.budget,
        packs=inputs.packs,
        packs_per_step=inputs.packs_per_step,
        max_epochs=inputs.mixture.max_epochs,
    )


def _build(
    directory: Path,
    document: dict[str, Any],
    inputs: PlanInputs,
    mixture: Mixture,
    capped: tuple[Capped, ...],
    datasets: Mapping[str, DatasetInput],
) -> None:
    """Draw and pack every step into `directory`, which appears when it is complete."""
    names = list(datasets)
    draws = Draws(
        seed=inputs.seed,
        rates=[entry.rate for entry in mixture.drawn],
        dataset_of=np.array([names.index(entry.dataset) for entry in mixture.drawn]),
        names=names,
        # A dataset without rows is never drawn from; 1 keeps it out of divisions by zero.
        sizes=np.array([max(len(data.rows), 1) for data in datasets.values()]),
    )
    table = row_table([data.columns for data in datasets.values()])
    with atomic_directory(directory) as partial:
        tally = compose(inputs, draws=draws, table=table, directory=partial)
        summary = summarise(
            mixture,
            tally=tally,
            budget=inputs.budget,
            packs=inputs.packs,
            usable={name: len(data.rows) for name, data in datasets.items()},
            excluded={name: dict(data.excluded) for name, data in datasets.items()},
        )
        summary["capped"] = [asdict(cut) for cut in capped]
        for name, data in datasets.items():
            summary["datasets"][name]["changed"] = dict(data.changed)
        files = {name: digest_file(partial / name) for name in ARRAYS}
        body = {
            "fingerprint": fingerprint(document, files),
            "inputs": document,
            "files": files,
            "summary_digest": digest_json(summary),
            "summary": summary,
        }
        write_document(partial / DOCUMENT, SCHEMA, body)
