"""Summary figures of a hand-made plan."""

from __future__ import annotations

import numpy as np
import pytest

from trackyard.plan.mixture import MixtureParameters, rates
from trackyard.plan.packing import Budget
from trackyard.plan.summary import summarise


def test_figures() -> None:
    parameters = MixtureParameters(kind="proportional", reference_rows={"x": 2, "y": 6, "gone": 8})
    mixture = rates(parameters, {"x": 2, "y": 6}, strict=False)
    summary = summarise(
        mixture,
        entry=np.array([1, 0, 1, 1]),
        tokens=np.array([10, 40, 20, 10]),
        steps=np.array([[50, 5, 1, 9, 2], [30, 3, 0, 4, 2]]),
        budget=Budget(tokens=50, inputs=4),
        packs=2,
        usable={"x": 2, "y": 6},
        excluded={"x": {}, "y": {"no decodable frame": 3}},
    )
    gone, x, y = summary["entries"]
    assert (gone["rate"], gone["reference_rate"], gone["difference"], gone["epochs"]) == (0, 0.5, -0.5, 0)
    assert (x["rate"], x["rows_drawn"], x["row_share"], x["token_share"], x["epochs"]) == (0.25, 1, 0.25, 0.5, 0.5)
    assert (y["rate"], y["rows_drawn"], y["row_share"], y["token_share"], y["epochs"]) == (0.75, 3, 0.75, 0.5, 0.5)
    assert summary["datasets"]["y"] == {
        "usable": 6, "excluded": {"no decodable frame": 3}, "rows_drawn": 3, "epochs": 0.5
    }  # fmt: skip
    assert summary["missing"] == ["gone"]
    assert summary["total_variation"] == pytest.approx(0.5)
    assert summary["totals"] == pytest.approx({
        "tokens": 80, "visual_tokens": 8, "inputs": 1, "label_tokens": 13, "rows": 4, "steps": 2, "packs": 2,
        "padding_fraction": 0.2, "rows_per_pack": 2.0,
    })  # fmt: skip
