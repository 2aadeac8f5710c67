"""Numbers of the Molmo2 specification that concern several packages at once and that no other test asserts.

Source: molmo2 spec sections 1 (one tensor for images and video), 3 (rates, access), 4.3 (tracking), 8 (size of a
mask), 9 (bad rows), 13 (saves) and 17 (movement at the report's rates).
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.tiny_molmo2 import batch, model, sample
from trackyard.catalog.entries import Entry, load_catalogue
from trackyard.catalog.reference import load_reference
from trackyard.catalog.totals import fine_tuning
from trackyard.feed.sample import Sample
from trackyard.feed.videos import VideoInputs
from trackyard.models.molmo2 import component_of
from trackyard.models.pixels import normalise_patches
from trackyard.plan.mixture import rates
from trackyard.recipes.molmo2.forward import forward
from trackyard.recipes.molmo2.parameters import STAGES, Molmo2Parameters, load_molmo2
from trackyard.train.optimiser import parameter_groups, rates_at

ROOT = Path(__file__).resolve().parents[1]


@cache
def profile(name: str) -> Molmo2Parameters:
    return load_molmo2(ROOT / "profiles" / f"{name}.yaml")


@cache
def catalogue() -> dict[str, Entry]:
    return load_catalogue(ROOT / "catalog")


# Section 1: a pack that holds images and video feeds all of them through `pixel_values` -------------------------------


def stock_logits(row: Sample, **visual: torch.Tensor) -> torch.Tensor:
    """A lone row through the stock class, with the stock mask, which is right for one row."""
    ids = torch.from_numpy(row.tree.input_ids)[None]
    with torch.inference_mode():
        logits: torch.Tensor = (
            model()
            .eval()(
                input_ids=ids,
                position_ids=torch.arange(ids.shape[1])[None],
                mm_token_type_ids=torch.from_numpy(row.tree.visual)[None].long(),
                **visual,
            )
            .logits
        )
    return logits


def widened(pooling: np.ndarray) -> torch.Tensor:
    """Windows of nine places, the ones behind an image's four empty."""
    return torch.from_numpy(np.pad(pooling, [(0, 0), (0, 9 - pooling.shape[1])], constant_values=-1))


def test_images_with_windows_of_nine_places_are_images() -> None:
    row = sample("pixmo-cap", 0)
    (image,) = row.media
    pixels, grids = normalise_patches(torch.from_numpy(image.patches)), torch.tensor([image.grid])
    narrow = torch.from_numpy(image.pooling)
    assert narrow.shape[1] == 4
    plain = stock_logits(row, pixel_values=pixels, image_token_pooling=narrow, image_grids=grids)
    wide = stock_logits(row, pixel_values=pixels, image_token_pooling=widened(image.pooling), image_grids=grids)
    assert (plain - wide).abs().max() <= 1e-5
    # Negative control: windows that hold other patches do not give the same logits.
    other = stock_logits(row, pixel_values=pixels, image_token_pooling=narrow.roll(1, 0), image_grids=grids)
    assert (plain - other).abs().max() > 1e-4


def test_a_video_through_pixel_values_is_the_video() -> None:
    row = sample("molmo2-cap", 1)
    (video,) = row.media
    assert isinstance(video, VideoInputs)
    pixels, pooling = normalise_patches(torch.from_numpy(video.patches)), torch.from_numpy(video.pooling)
    frames, side = len(video.patches), video.grid[1]
    assert video.grid == (frames * side, side, 0, 0)
    own = stock_logits(
        row,
        pixel_values_videos=pixels,
        video_token_pooling=pooling,
        video_grids=torch.tensor([[frames, side, side]]),
    )
    shared = stock_logits(
        row, pixel_values=pixels, image_token_pooling=widened(video.pooling), image_grids=torch.tensor([video.grid])
    )
    assert (own - shared).abs().max() <= 1e-5


def test_the_stock_class_takes_no_images_beside_videos() -> None:
    row = sample("pixmo-cap", 0)
    pixels = normalise_patches(torch.from_numpy(row.media[0].patches))
    with pytest.raises(ValueError, match="at the same time"):
        stock_logits(row, pixel_values=pixels, pixel_values_videos=pixels)


# Section 3 -----------------------------------------------------------------------------------------------------------


def test_rates_of_the_groups_to_three_decimals() -> None:
    groups = profile("report").stage2.mixture.groups
    total = sum(group.weight for group in groups.values())
    assert {name.removeprefix("sft:"): round(100 * group.weight / total, 3) for name, group in groups.items()} == {
        "captions_long_qa": 13.636, "image_qa": 22.727, "video_qa": 18.182, "image_pointing": 9.091,
        "video_pointing": 13.636, "tracking": 13.636, "nlp": 9.045, "hardcodes": 0.045,
    }  # fmt: skip


def test_ways_of_access_over_the_104() -> None:
    counted = [entry for entry in fine_tuning(catalogue()) if entry.group != "sft:hardcodes"]
    expected = {"auto": 46, "mixed": 36, "manual": 14, "url": 7, "none": 1}
    assert Counter(entry.access for entry in counted) == expected == load_reference(ROOT / "catalog").access
    assert [entry.name for entry in counted if entry.access == "none"] == ["pixmo-clocks"]


def test_the_founding_lists_of_stage_2() -> None:
    printed = load_reference(ROOT / "catalog").printed
    assert (printed.stage2_automatic, printed.stage2_by_hand, printed.stage2_bytes) == (32, 10, 500 * 10**9)


# Section 4.3 ---------------------------------------------------------------------------------------------------------


def test_tracking_entries_have_their_published_shares() -> None:
    mixture = profile("report").stage2.mixture
    names = [entry.dataset for entry in mixture.groups["sft:tracking"].entries]
    known = {name: 1 for group in mixture.groups.values() for entry in group.entries for name in _datasets(entry)}
    found = {entry.name: entry.rate for entry in rates(mixture, known | mixture.reference_rows, strict=True).entries}
    published = {str(name): catalogue()[str(name)].mixture.rate_percent or 0.0 for name in names}
    assert len(published) == 22
    total = sum(published.values())
    assert {name: found[name] for name in published} == pytest.approx(
        {name: 0.15 / 1.1 * rate / total for name, rate in published.items()}, rel=1e-9
    )


def _datasets(entry: Any) -> tuple[str, ...]:
    return (entry.dataset,) if isinstance(entry.dataset, str) else tuple(entry.dataset)


# Sections 8, 9 and 13 ------------------------------------------------------------------------------------------------


def test_a_dense_mask_has_a_byte_per_pair() -> None:
    mask = batch([[sample("tulu", 0)]]).dense_mask()
    assert mask.nbytes == mask.shape[1] ** 2
    assert [round(length**2 / 1e9, 2) for length in (16_384, 36_864)] == [0.27, 1.36]


def test_one_row_in_a_thousand_may_be_broken() -> None:
    assert [profile(name).max_bad_rows for name in ("mini", "seed", "report")] == [0.001] * 3


@pytest.mark.parametrize(("name", "saves"), [("seed", [20, 25, 4]), ("report", [7, 15, 4])])
def test_saves_of_a_stage_with_the_one_at_its_end(name: str, saves: list[int]) -> None:
    stages = [profile(name).stage(stage) for stage in STAGES]
    found = [len({*range(stage.save_every, stage.steps + 1, stage.save_every), stage.steps}) for stage in stages]
    assert found == saves


# Section 17, item 10 -------------------------------------------------------------------------------------------------


def still_after_five_steps(stage: Any, first: int) -> tuple[list[str], list[str]]:
    """Tensors without a gradient and tensors without a change after updates `first` to first + 4 of a stage."""
    net = model()
    start = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    optimiser = torch.optim.AdamW(
        parameter_groups(net, component_of, stage.optimiser.rates), betas=(0.9, 0.95), eps=1e-6, weight_decay=0.0
    )
    rows = batch([[sample("a-okvqa", 0)]])
    for step in range(first, first + 5):
        now = rates_at(step, stage.optimiser.rates, total=stage.steps)
        for group in optimiser.param_groups:
            group["lr"] = now[group["name"]]
        optimiser.zero_grad()
        forward(net, rows).total.backward()
        optimiser.step()
    return (
        [name for name, parameter in net.named_parameters() if parameter.grad is None],
        [name for name, parameter in net.named_parameters() if torch.equal(parameter, start[name])],
    )


@pytest.mark.parametrize("name", ["stage1", "stage2"])
def test_every_tensor_moves_within_five_steps_at_the_rates_of_the_report(name: Any) -> None:
    stage = profile("report").stage(name)
    assert still_after_five_steps(stage, max(rate.warmup_steps for rate in stage.optimiser.rates.values())) == ([], [])


def test_the_first_steps_of_the_longest_warm_up_are_below_the_spacing_of_fp32_at_one() -> None:
    """Five steps into 2,000 the rate of the tower is 1.2e-8: an update of a norm's 1.0 is lost, nothing else is."""
    unchanged = still_after_five_steps(profile("report").stage1, 0)
    assert unchanged[0] == []
    assert unchanged[1]
    assert all("layer_norm" in name and name.endswith(".weight") for name in unchanged[1])
