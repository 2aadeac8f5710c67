"""Summary figures of a hand-made plan."""

from __future__ import annotations

import pytest

from trackyard.plan.mixture import MixtureParameters, rates
from trackyard.plan.packing import Budget
from trackyard.plan.summary import summarise
from trackyard.plan.tally import Tally


def test_figures() -> None:
    parameters = MixtureParameters(kind="proportional", reference_rows={"x": 2, "y": 6, "gone": 8})
    mixture = rates(parameters, {"x": 2, "y": 6}, strict=False)
    tally = Tally(steps=2, packs_per_step=1, entries=2)
    tally.steps[:] = [[50, 5, 1, 9, 2], [30, 3, 7, 4, 2]]
    tally.entries[:] = [[1, 40, 5], [3, 40, 3]]
    summary = summarise(
        mixture,
        tally=tally,
        budget=Budget(tokens=50, inputs=4),
        packs=2,
        usable={"x": 2, "y": 6},
        excluded={"x": {}, "y": {"no decodable frame": 3}},
    )
    gone, x, y = summary["entries"]
    assert (gone["rate"], gone["reference_rate"], gone["difference"], gone["epochs"]) == (0, 0.5, -0.5, 0)
    assert (x["rate"], x["rows_drawn"], x["row_share"], x["token_share"], x["epochs"]) == (0.25, 1, 0.25, 0.5, 0.5)
    assert (y["rate"], y["rows_drawn"], y["row_share"], y["token_share"], y["epochs"]) == (0.75, 3, 0.75, 0.5, 0.5)
    assert [(item["tokens"], item["visual_tokens"]) for item in (gone, x, y)] == [(0, 0), (40, 5), (40, 3)]
    assert summary["datasets"]["y"] == {
        "usable": 6, "excluded": {"no decodable frame": 3}, "rows_drawn": 3, "epochs": 0.5
    }  # fmt: skip
    assert summary["missing"] == ["gone"]
    assert summary["total_variation"] == pytest.approx(0.5)
    assert summary["totals"] == pytest.approx({
        "tokens": 80, "visual_tokens": 8, "inputs": 8, "label_tokens": 13, "rows": 4, "steps": 2, "packs": 2,
        "padding_fraction": 0.2, "rows_per_pack": 2.0, "fill": 0.8, "bound": 0.8, "share_of_bound": 1.0,
    })  # fmt: skip
