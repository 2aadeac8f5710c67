"""What a plan amounts to, in numbers: the mixture asked for and obtained, repeats, padding, totals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackyard.plan.mixture import Mixture
from trackyard.plan.packing import Budget

Ints = NDArray[np.integer[Any]]


def summarise(
    mixture: Mixture,
    *,
    entry: Ints,
    tokens: Ints,
    steps: Ints,
    budget: Budget,
    packs: int,
    usable: Mapping[str, int],
    excluded: Mapping[str, Mapping[str, int]],
) -> dict[str, Any]:
    """The `summary` of plan.json: `entries`, `datasets`, `totals`, `missing`, `total_variation`.

    entry [rows]: number in `mixture.drawn` of every draw; tokens [rows]; steps [steps, 5]: the step table;
    usable: rows per dataset; excluded: rows left out per dataset, by reason.
    """
    drawn = mixture.drawn
    counts = np.bincount(entry, minlength=len(drawn))
    token_counts = np.bincount(entry, weights=tokens, minlength=len(drawn))
    by_name = {
        item.name: (int(count), int(weight)) for item, count, weight in zip(drawn, counts, token_counts, strict=True)
    }
    totals = dict(
        zip(("tokens", "visual_tokens", "inputs", "label_tokens", "rows"), steps.sum(axis=0).tolist(), strict=True)
    )
    per_dataset = dict.fromkeys(usable, 0)
    for item in drawn:
        per_dataset[item.dataset] += by_name[item.name][0]
    entries = []
    for item in mixture.entries:
        rows_drawn, tokens_drawn = by_name.get(item.name, (0, 0))
        entries.append(
            {
                "name": item.name,
                "dataset": item.dataset,
                "group": item.group,
                "reference_rate": item.reference_rate,
                "rate": item.rate,
                "difference": item.rate - item.reference_rate,
                "row_share": rows_drawn / totals["rows"],
                "token_share": tokens_drawn / totals["tokens"],
                "rows_drawn": rows_drawn,
                "epochs": rows_drawn / usable[item.dataset] if item.rate else 0.0,
            }
        )
    return {
        "entries": entries,
        "datasets": {
            name: {
                "usable": usable[name],
                "excluded": dict(excluded[name]),
                "rows_drawn": per_dataset[name],
                "epochs": per_dataset[name] / usable[name] if usable[name] else 0.0,
            }
            for name in usable
        },
        "missing": list(mixture.missing),
        "total_variation": mixture.distance,
        "totals": {
            **totals,
            "steps": len(steps),
            "packs": packs,
            "padding_fraction": 1 - totals["tokens"] / (packs * budget.tokens),
            "rows_per_pack": totals["rows"] / packs,
        },
    }
