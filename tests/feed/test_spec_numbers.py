"""Numbers and texts of the Molmo2 specification (sections 5 to 11 and 18) that no other test of the feed asserts."""

from __future__ import annotations

import math
from fractions import Fraction
from statistics import NormalDist
from types import SimpleNamespace

import pytest
import torch
from transformers.models.molmo2.processing_molmo2 import Molmo2Processor
from transformers.models.molmo2.video_processing_molmo2 import Molmo2VideoProcessor
from transformers.video_utils import VideoMetadata

from tests.feed.stock_cases import tokens
from trackyard.feed import prompts
from trackyard.feed.frames import frames_that_fit, sample_times, time_text, time_tokens
from trackyard.feed.geometry import VisionGeometry, tile
from trackyard.feed.layout import FeedParameters
from trackyard.feed.points import Point, PointFormat, format_points, format_tracks, parse_points
from trackyard.feed.prompts import Scope, Wording, write_dialogue
from trackyard.feed.sequence import frame_tokens, image_tokens
from trackyard.feed.tree import EXAMPLE_STRIDE, PREFIX_SEGMENT
from trackyard.row import Row, Turn

REAL = VisionGeometry()
F = Fraction
SIZES = [
    (378, 378, 8), (480, 640, 8), (768, 1024, 8), (1080, 1920, 8), (1920, 1080, 8), (1080, 1920, 12), (1080, 1920, 24),
    (2000, 500, 8),
]  # fmt: skip
"""Height, width and crops of the table of section 5."""

STOCK = SimpleNamespace(
    image_use_col_tokens=True,
    use_single_crop_col_tokens=False,
    use_single_crop_start_token=True,
    video_use_col_tokens=False,
    use_frame_special_tokens=True,
)
"""What the text expansion of the stock processor reads of its settings."""


# Section 5 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("crops", "bound", "widest"), [(8, 1_400, (8, 1)), (24, 3_680, (24, 1))])
def test_no_tiling_costs_more_than_the_bound(crops: int, bound: int, widest: tuple[int, int]) -> None:
    def cost(a: int, b: int) -> int:
        return 198 + math.ceil((19 * a + 8) / 2) * (math.ceil((19 * b + 8) / 2) + 1) + 2

    tilings = [(a, b) for a in range(1, crops + 1) for b in range(1, crops // a + 1)]
    assert max(cost(*tiling) for tiling in tilings) == cost(*widest) == bound
    found = tile(266 * widest[0] + 112, 266 * widest[1] + 112, REAL, crops)
    assert ((found.rows, found.cols), found.tokens) == (widest, bound)


@pytest.mark.parametrize(("height", "width", "crops"), SIZES)
def test_the_text_of_an_image_is_the_stock_one(height: int, width: int, crops: int) -> None:
    tiling = tile(height, width, REAL, crops)
    grid = {"image_grids": [[14, 14, tiling.grid_rows, tiling.grid_cols]]}
    stock = tokens().tokenizer(Molmo2Processor.replace_image_token(STOCK, grid, 0), add_special_tokens=False)
    assert image_tokens(tiling, REAL, tokens()) == stock["input_ids"]


def test_column_tokens_of_the_global_view_left_unset_cost_fourteen_tokens() -> None:
    unset = SimpleNamespace(**vars(STOCK) | {"use_single_crop_col_tokens": None})
    grid = {"image_grids": [[14, 14, 14, 14]]}
    text = Molmo2Processor.replace_image_token(unset, grid, 0)
    assert len(tokens().tokenizer(text, add_special_tokens=False)["input_ids"]) == 410 + 14


def test_five_images_crops_and_the_share_at_high_resolution() -> None:
    shipped = FeedParameters(max_tokens=4_096, max_inputs=128)
    assert (shipped.max_images, shipped.geometry.max_crops) == (5, 8)
    assert (shipped.pointing_crops, shipped.pointing_share) == (24, 0.3)


# Section 6 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("duration", "limit", "printed"),
    [
        (F(64), 128, {0: "0.0000", 1: "0.5039", 2: "1.0079", 127: "64.0000"}),
        (F(100), 128, {1: "0.7874", 126: "99.2126", 127: "100.0000"}),
        (F(51, 5), 8, {1: "1.4571", 2: "2.9143"}),
    ],
)
def test_sampled_times_as_the_table_prints_them(duration: Fraction, limit: int, printed: dict[int, str]) -> None:
    times = sample_times(duration, 10**6, F(30), limit, F(2))
    assert {k: f"{float(times[k]):.4f}" for k in printed} == printed


def test_the_text_of_a_video_is_the_stock_one() -> None:
    times = sample_times(F(100), 3_000, F(30), 128, F(2))
    stock = Molmo2Processor.get_video_string(STOCK, torch.tensor([len(times), 9, 9]), [float(t) for t in times])
    ours = []
    for number, time in enumerate(times):
        ours += [*tokens().encode(time_text(number, time)), *frame_tokens(REAL, tokens())]
    assert ours == tokens().tokenizer(stock, add_special_tokens=False)["input_ids"]
    assert len(ours) - 128 * 83 <= 128 * time_tokens(F(100))


def test_frames_without_wrapping_would_cost_81_tokens_and_two() -> None:
    """The published form, ours, wraps each frame (section 18)."""
    assert 128 * REAL.frame_tokens - (128 * REAL.frame_features + 2) == 254


def test_the_stock_sampler_leaves_out_the_last_frame() -> None:
    """Why evaluation hands over frames that are sampled already, with their times (section 18)."""
    metadata = VideoMetadata(total_num_frames=300, fps=30.0, duration=10.0)
    stock = Molmo2VideoProcessor.sample_frames(SimpleNamespace(max_fps=2, num_frames=128), metadata)
    assert (len(stock), stock[-1].item() / 30) == (20, 9.5)
    assert len(sample_times(F(10), 300, F(30), 128, F(2))) == 21


def test_frames_of_the_long_stages_fit() -> None:
    for length, tau, frames, fitting in ((16_384, 6, 128, 178), (36_864, 7, 384, 403)):
        assert min(frames_that_fit(length, 10**6, tau, REAL.frame_tokens), frames) == frames
        assert fitting * (83 + tau) + 512 <= length < (fitting + 1) * (83 + tau) + 512


# Section 7 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("characters", "noise", "tag"),
    [
        (1_500, 0.0, "long_caption 100: "),
        (1_499, 0.0, "long_caption 99: "),
        (1_500, 25.0, "long_caption 101: "),
        (1_509, -24.75, "long_caption 99: "),  # -24: rounded toward zero; -25 would give 98
        (1_485, 14.9, "long_caption 99: "),
        (10, -60.0, "long_caption 0: "),
    ],
)
def test_the_length_a_caption_states(characters: int, noise: float, tag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = {"length share": 0.0, "length noise": NormalDist(0, 25).cdf(noise), "template": 0.0}
    monkeypatch.setattr(prompts, "chance", lambda seed, what, *place: drawn[what])
    talk = (Turn(role="user", content="Describe."), Turn(role="assistant", content="x" * characters))
    row = Row(id="r", task="long_caption", conversations=(talk,))
    wording = Wording(seed=0, point_format=PointFormat.HTML_V1, stage1=True)
    assert write_dialogue(row, 0, "set", Scope(), wording).turns[0][0] == f"{tag}Describe."


def test_one_caption_in_ten_states_no_length(monkeypatch: pytest.MonkeyPatch) -> None:
    talk = (Turn(role="user", content="Describe."), Turn(role="assistant", content="x" * 1_500))
    row = Row(id="r", task="transcript", conversations=(talk,))
    wording = Wording(seed=0, point_format=PointFormat.HTML_V1, stage1=True)
    for share, tag in ((0.8999, "transcript 100: "), (0.9, "transcript: ")):
        monkeypatch.setattr(prompts, "chance", lambda seed, what, *place, s=share: s if what == "length share" else 0.5)
        assert write_dialogue(row, 0, "set", Scope(), wording).turns[0][0] == f"{tag}Describe."


def test_the_length_asked_for_at_inference() -> None:
    talk = (Turn(role="user", content="Describe."), Turn(role="assistant", content=""))
    row = Row(id="r", task="long_caption", conversations=(talk,))
    wording = Wording(seed=0, point_format=PointFormat.HTML_V1, stage1=True, evaluation=True)
    found = write_dialogue(row, 0, "set", Scope(), wording, answered=False)
    assert found.turns[0][0] == "long_caption 65: Describe."


# Section 8 -----------------------------------------------------------------------------------------------------------


def test_segment_numbers() -> None:
    assert (EXAMPLE_STRIDE, PREFIX_SEGMENT) == (100_000, 10_000)


# Section 11 ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("separator", ["\t", ";", ":", ","])
def test_every_separator_of_frames_is_read(separator: str) -> None:
    text = f'<tracks coords="0.0 1 635 522{separator}0.5 1 606 490 2 511 1000">dog</tracks>'
    assert [(p.frame, p.id, p.x, p.y) for p in parse_points(text)] == [
        (0.0, 1, 0.635, 0.522),
        (0.5, 1, 0.606, 0.49),
        (0.5, 2, 0.511, 1.0),
    ]


@pytest.mark.parametrize("form", PointFormat)
def test_examples_survive_both_formats(form: PointFormat) -> None:
    images = [Point(1, 0.555, 0.169), Point(2, 0.649, 0.154), Point(2, 0.709, 0.162)]
    text = format_points(images, "label", form, timed=False).text
    assert text == f'<points coords="1 1 555 169{form.separator}2 2 649 154 3 709 162">label</points>'
    assert [(p.frame, p.x, p.y) for p in parse_points(text)] == [(p.t, p.x, p.y) for p in images]
    dogs = [Point(0.0, 0.635, 0.522, "a"), Point(0.5, 0.606, 0.490, "a"), Point(0.5, 0.511, 0.124, "b")]
    text = format_tracks(dogs, "dog", form).text
    assert text == f'<tracks coords="0.0 1 635 522{form.separator}0.5 1 606 490 2 511 124">dog</tracks>'
