"""How fast a device scores: without gradients, and where it matters without TF32. Nothing here was measured."""

from __future__ import annotations

from trackyard.estimate.devices import Device
from trackyard.train.flops import peak

FP32_PEAKS = {"H200": 67e12, "H100": 67e12, "A100": 19.5e12}
"""Nominal FLOP/s without tensor cores: for what is in fp32 with TF32 off."""
EXACT_UTILISATION, SEARCH_UTILISATION = 0.6, 0.3
"""Of the fp32 and of the bf16 peak; assumed."""


def scoring_rates(device: Device) -> tuple[float, float]:
    """FLOP/s in fp32 without TF32, and in bf16."""
    bf16 = peak(device.marketed_as)
    if bf16 is None:
        return device.rate, device.rate
    return FP32_PEAKS[device.marketed_as] * EXACT_UTILISATION, bf16 * SEARCH_UTILISATION
