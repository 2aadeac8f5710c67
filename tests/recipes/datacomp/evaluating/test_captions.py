"""Captions: nats per token of the right one."""

from __future__ import annotations

import pytest

from tests.recipes.datacomp.evaluating.answering import COUNT, likelihoods, scored
from trackyard.recipes.datacomp.evaluating.sets import SETS


def test_captions_report_nats_per_token() -> None:
    figures = SETS["captions"].figures(scored("captions", lambda item: likelihoods(item, item.gold)))
    assert figures["nll_per_token"] == pytest.approx(0.1 / 5)
    assert figures["chance"] == 0.25
    assert figures["gold_tokens"] == 5 * COUNT
