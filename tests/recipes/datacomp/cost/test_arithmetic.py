"""The numbers of theworld spec sections 8, 10, 11 and 16, by the code that computes them: acceptance check 20."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.models.theworld.parameters import WorldParameters, total_trainable
from trackyard.recipes.datacomp.cost.arithmetic import (
    ACCEPTANCE,
    POOL,
    PRESETS,
    PUBLISHED,
    STATE_BYTES,
    cache_gain_s,
    image_bytes,
    latent_bytes,
    plan_lines,
    rows_of,
    saves_of,
    step_hours,
    steps_of,
    whole_s,
)
from trackyard.recipes.datacomp.cost.bases import GEMMA, PUBLISHED_SHAPE, VAE_PARAMETERS

WIDTH = GEMMA.shape.hidden
STEPS = PRESETS["100k"].steps


@pytest.mark.parametrize(
    ("preset", "steps", "warmup", "saves", "rows", "images_512", "images_896", "latents"),
    [
        ("smoke", 4, 1, 1, 107, None, None, 0.0084),
        ("10k", 3_125, 100, 7, 16_667, 0.35, 1.08, 1.31),
        ("100k", 18_750, 500, 38, 166_667, 3.52, 10.8, 13.11),
        ("full", 800_000, 2_000, 1_600, None, 450, None, 1_677.7),
        ("full-alive", 480_000, 2_000, 960, 12_800_000, 270, None, 1_006.6),
    ],
)
def test_the_presets(
    preset: str, steps: int, warmup: int, saves: int, rows: int | None, images_512: float | None,
    images_896: float | None, latents: float,
) -> None:  # fmt: skip
    """Section 10; sizes in GB."""
    found = PRESETS[preset]
    assert (found.steps, found.warmup, saves_of(found.steps)) == (steps, warmup, saves)
    if rows is not None:
        assert rows_of(found.samples) == rows
    for side, expected in ((512, images_512), (896, images_896)):
        if expected is not None:
            assert found.samples * image_bytes(side) / 1e9 == pytest.approx(expected, rel=0.01)
    assert found.samples * latent_bytes(PUBLISHED_SHAPE) / 1e9 == pytest.approx(latents, rel=2e-3)


def test_the_whole_pool_if_every_row_were_alive() -> None:
    assert rows_of(PRESETS["full"].samples, acceptance=1.0) == POOL == 12_800_000
    assert PRESETS["full-alive"].samples == POOL * ACCEPTANCE == 7_680_000


def test_hours_of_the_founding_plan() -> None:
    """Section 16: 15.6 h and not 48 to 60; 2.6 h; 27.8 and 16.7 days."""
    assert step_hours(STEPS) == 15.625
    assert PUBLISHED.stated_hours == (48.0, 60.0)
    assert step_hours(PRESETS["10k"].steps) == pytest.approx(2.6, abs=0.01)
    assert step_hours(PRESETS["full"].steps) / 24 == pytest.approx(27.8, abs=0.03)
    assert step_hours(PRESETS["full-alive"].steps) / 24 == pytest.approx(16.7, abs=0.04)


def test_saves_and_pushes_of_the_founding_plan() -> None:
    assert PUBLISHED.saves(STEPS) == 375
    assert PUBLISHED.save_hours(STEPS) == (31.25, 62.5)
    assert PUBLISHED.push_hours(STEPS) == (12.5, 18.75)
    assert PUBLISHED.pushed_bytes(STEPS) == 57_375_000_000
    assert saves_of(STEPS) == 38


def test_what_the_founding_plan_took_for_trainable() -> None:
    assert PUBLISHED.trainable == 76_290_451
    assert PUBLISHED.checkpoint_bytes == pytest.approx(153e6, rel=3e-3)
    assert [round(size / 1e6) for size in PUBLISHED.moment_bytes] == [305, 610]
    whole = GEMMA.vision + GEMMA.language + VAE_PARAMETERS["all"]
    assert PUBLISHED.trainable / whole == pytest.approx(0.0172, abs=5e-5)
    assert VAE_PARAMETERS["encoder"] == pytest.approx(53.6e6, rel=1e-3)


@pytest.mark.parametrize(
    ("mode", "projector", "megabytes"),
    [("pooled8", "mlp", 110.2), ("channel", "mlp", 204.6), ("spatial", "mlp", 79.3), ("spatial", "linear", 0.58)],
)
def test_sizes_of_checkpoints(mode: str, projector: str, megabytes: float) -> None:
    """Section 11."""
    world = WorldParameters.model_validate({"mode": mode, "projector": projector})
    trained = total_trainable(world, PUBLISHED_SHAPE, WIDTH)
    assert STATE_BYTES * trained / 1e6 == pytest.approx(megabytes, rel=1e-2)


def test_the_default_checkpoint_to_the_byte() -> None:
    trained = total_trainable(WorldParameters(), PUBLISHED_SHAPE, WIDTH)
    assert (trained, 4 * trained, STATE_BYTES * trained) == (9_185_281, 36_741_124, 110_223_372)
    assert (3 * STATE_BYTES * trained + 4 * trained) / 1e9 == pytest.approx(0.37, abs=0.003)


def test_latents_fill_a_shard() -> None:
    """Section 8."""
    assert latent_bytes(PUBLISHED_SHAPE) == 131_072
    assert 2_048 * latent_bytes(PUBLISHED_SHAPE) == 268_435_456


def test_logits_of_every_position() -> None:
    """Section 5: why they are computed at the answer only."""
    assert [length * GEMMA.shape.vocab * 4 for length in (600, 4_700)] == pytest.approx([629e6, 4.93e9], rel=1e-3)


def test_a_cache_gains_nothing_for_one_run_of_one_epoch() -> None:
    assert cache_gain_s(7_680_000, 0.1, epochs=1, further=0) == 0
    assert cache_gain_s(100_000, 0.05, epochs=3, further=5) / 3600 == pytest.approx(9.7, abs=0.03)


def test_pictures_by_url_are_fetched_once() -> None:
    """Section 16: 15 to 20 GB if originals average 150 to 200 kB; a large longest side stores no more than that."""
    assert 100_000 * image_bytes(None) == 20_000_000_000
    assert image_bytes(4_096) == image_bytes(None)


def test_the_lines_that_are_printed() -> None:
    text = "\n".join(plan_lines(STEPS, 9_185_281))
    for words in (
        "18,750 steps at 3 s", "15.6 h", "375 saves, 31.25 to 62.5 h", "12.5 to 18.75 h", "57.4 GB", "38 saves",
        "110,223,372 bytes", "0.37 GB",
    ):  # fmt: skip
        assert words in text


@given(
    st.integers(1, 10**8), st.integers(1, 5), st.integers(1, 64), st.integers(1, 1_000),
    st.decimals("0.01", "1", places=3),
)  # fmt: skip
def test_every_draw_has_a_step_and_every_step_a_save(
    samples: int, epochs: int, batch: int, every: int, acceptance: Decimal
) -> None:
    steps = steps_of(samples, epochs, batch)
    assert (steps - 1) * batch < samples * epochs <= steps * batch
    assert (saves_of(steps, every) - 1) * every < steps <= saves_of(steps, every) * every
    share = float(acceptance)
    assert rows_of(samples, share) * share >= samples * (1 - 1e-12)


@given(st.integers(1, 8), st.floats(1, 1e4), st.floats(1e-3, 1))
def test_more_devices_shorten_the_latents_alone(gpus: int, rows_per_s: float, encode_s: float) -> None:
    def whole(count: int) -> float:
        return whole_s(
            rows=1e5, rows_per_s=rows_per_s, samples=60_000, encode_s=encode_s, gpus=count, steps=100, step_s=3.0,
            saves=1, save_s=3.0,
        )  # fmt: skip

    assert whole(1) - whole(gpus) == pytest.approx(60_000 * encode_s * (1 - 1 / gpus), abs=1e-6)
