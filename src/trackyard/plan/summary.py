"""What a plan amounts to, in numbers: the mixture asked for and obtained, repeats, padding, totals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trackyard.plan.bound import fill_bound
from trackyard.plan.mixture import Mixture
from trackyard.plan.packing import Budget
from trackyard.plan.plan import STEP_COLUMNS
from trackyard.plan.tally import Tally


def summarise(
    mixture: Mixture,
    *,
    tally: Tally,
    budget: Budget,
    packs: int,
    usable: Mapping[str, int],
    excluded: Mapping[str, Mapping[str, int]],
) -> dict[str, Any]:
    """The `summary` of plan.json: `entries`, `datasets`, `totals`, `missing`, `total_variation`.

    tally: sums of the plan, its entries those of `mixture.drawn`; usable: rows per dataset; excluded: rows left out per
    dataset, by reason. In `totals`, fill is the share of positions that hold a token, bound the most any packer could
    reach with these rows.
    """
    by_name = dict(zip((item.name for item in mixture.drawn), tally.entries.tolist(), strict=True))
    totals = dict(zip(STEP_COLUMNS, tally.steps.sum(axis=0).tolist(), strict=True))
    fill = totals["tokens"] / (packs * budget.tokens)
    bound = fill_bound(totals["tokens"], totals["inputs"], budget=budget)
    per_dataset = dict.fromkeys(usable, 0)
    for item in mixture.drawn:
        per_dataset[item.dataset] += by_name[item.name][0]
    entries = []
    for item in mixture.entries:
        rows_drawn, tokens, visual_tokens = by_name.get(item.name, (0, 0, 0))
        entries.append(
            {
                "name": item.name,
                "dataset": item.dataset,
                "group": item.group,
                "reference_rate": item.reference_rate,
                "rate": item.rate,
                "difference": item.rate - item.reference_rate,
                "row_share": rows_drawn / totals["rows"],
                "token_share": tokens / totals["tokens"],
                "rows_drawn": rows_drawn,
                "tokens": tokens,
                "visual_tokens": visual_tokens,
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
            "steps": len(tally.steps),
            "packs": packs,
            "padding_fraction": 1 - fill,
            "fill": fill,
            "bound": bound,
            "share_of_bound": fill / bound,
            "rows_per_pack": totals["rows"] / packs,
        },
    }
