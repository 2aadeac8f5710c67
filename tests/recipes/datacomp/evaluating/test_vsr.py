"""VSR: F1 of True, how often it is said, and what one constant answer would score."""

from __future__ import annotations

import pytest

from tests.recipes.datacomp.evaluating.answering import likelihoods, scored
from trackyard.recipes.datacomp.evaluating.sets import SETS


def test_vsr_figures() -> None:
    records = scored("vsr", lambda item: likelihoods(item, "True"))
    figures = SETS["vsr"].figures(records)
    assert figures["positive_rate"] == 1
    assert figures["majority"] == {"answer": "False", "accuracy": 0.5}
    assert figures["f1"] == pytest.approx(2 / 3)
    never = SETS["vsr"].figures(scored("vsr", lambda item: likelihoods(item, "False")))
    assert never["f1"] == 0
    assert SETS["vsr"].figures(scored("vsr", lambda item: likelihoods(item, item.gold)))["f1"] == 1
