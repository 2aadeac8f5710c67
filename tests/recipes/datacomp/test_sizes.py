"""TheWorld in numbers: the tables of theworld spec sections 2, 4, 10 and 11."""

from __future__ import annotations

import pytest

from trackyard.errors import ConfigError
from trackyard.estimate.calibration import calibrate
from trackyard.estimate.devices import DEVICES
from trackyard.estimate.forecast import STATE_BYTES, Machine, forecast
from trackyard.launch.sites import Partition, Site
from trackyard.recipes.datacomp.sizes import MODES, SAMPLES, steps_of, workload
from trackyard.train.flops import step_flops

DEVICE = DEVICES["h200"]


@pytest.mark.parametrize(
    ("mode", "projector", "trained"),
    [
        ("spatial", 6_599_680, 6_604_801),
        ("channel", 17_044_480, 17_049_601),
        ("pooled4", 7_214_080, 7_219_201),
        ("pooled8", 9_180_160, 9_185_281),
        ("stats", 6_722_560, 6_727_681),
    ],
)
def test_trainable_parameters_of_each_mode(mode: str, projector: int, trained: int) -> None:
    assert (MODES[mode].projector, MODES[mode].trained) == (projector, trained)
    work = workload(f"100k/{mode}", DEVICE)
    assert work.trained == trained
    assert work.parameters - trained == 4_300_079_472


@pytest.mark.parametrize(("samples", "steps"), [("smoke", 4), ("10k", 3_125), ("100k", 18_750), ("full", 800_000)])
def test_steps_of_each_preset(samples: str, steps: int) -> None:
    assert steps_of(*SAMPLES[samples]) == workload(samples, DEVICE).steps == steps


def test_checkpoints_hold_what_is_trained_alone() -> None:
    """110 MB with the moments, where a whole Gemma would be 60 GB."""
    assert STATE_BYTES * workload(None, DEVICE).trained == 110_223_372


def test_lengths_and_arithmetic_of_the_modes() -> None:
    """performance spec section 3: T = 330 and 4,410; 56.8 TFLOP of the language model and about 5.5 of SigLIP.

    Attention of the global and the sliding layers is in ours.
    """
    channel, spatial = (workload(f"100k/{mode}", DEVICE) for mode in ("channel", "spatial"))
    assert (channel.tokens / 16, spatial.tokens / 16) == (330, 4_410)
    assert step_flops(spatial.useful) / 16 == pytest.approx(62.3e12, rel=0.08)
    assert spatial.notes
    assert not channel.notes


def test_the_spatial_mode_needs_the_memory_that_was_seen() -> None:
    """theworld spec section 17: 89.9 GB at micro-batch 2, nothing computed again, with stock attention."""
    site = Site(name="x", default_partition="p", partitions={"p": Partition(device="any", cores_per_node=8)})
    work = workload("100k/spatial", DEVICE).changed(micro_batch=2, activation_checkpointing="none")
    found = forecast(work, Machine(site=site, partition_name="p", device=DEVICE), calibrate(work, DEVICE, []))
    held = sum(item.bytes for item in found.memory if item.where == "device")
    assert 89.9e9 / 1.8 < held < 89.9e9 * 1.8


def test_it_says_that_the_stage_is_not_there() -> None:
    assert workload(None, DEVICE).pending is not None
    for wrong in ("1k", "100k/video"):
        with pytest.raises(ConfigError, match=f"no preset '{wrong}'"):
            workload(wrong, DEVICE)
