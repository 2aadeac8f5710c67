"""Rates at which a device scores."""

from __future__ import annotations

from trackyard.estimate.devices import DEVICES
from trackyard.estimate.scoring import scoring_rates


def test_a_cpu_scores_and_searches_alike() -> None:
    exact, search = scoring_rates(DEVICES["cpu"])
    assert exact == search == DEVICES["cpu"].rate


def test_every_gpu_has_a_peak_in_both_forms() -> None:
    for device in DEVICES.values():
        exact, search = scoring_rates(device)
        assert 0 < exact <= search
