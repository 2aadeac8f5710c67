"""The worst rows from shard to step: each ends as the specification says, and is counted. Molmo2 spec section 9."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache, partial
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from tests.tiny_molmo2 import LENGTH, feed, tokens
from trackyard.acquire.media import TOO_LARGE, frame_table, probe_image, probe_video
from trackyard.feed.frames import frame_indices, plan_frames
from trackyard.feed.layout import DROPPED_BRANCHES, DROPPED_IMAGES, FEWER_FRAMES, HIDDEN_POINTS, TOO_LONG
from trackyard.feed.prompts import EMPTY_ANSWER
from trackyard.feed.sample import measure
from trackyard.feed.steps import PlanFeed
from trackyard.plan.build import DatasetInput, PlanInputs, build_plan
from trackyard.plan.mixture import MixtureParameters
from trackyard.plan.packing import Budget
from trackyard.plan.plan import Plan
from trackyard.row import Media, Row, Turn
from trackyard.snapshot.index import LengthIndex
from trackyard.snapshot.measuring import build_index
from trackyard.snapshot.reader import SnapshotDataset
from trackyard.snapshot.writer import write_dataset

INPUTS = 24


@lru_cache
def jpeg(width: int, height: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(stream, "JPEG")
    return stream.getvalue()


@lru_cache
def clip(times: tuple[int, ...], rate: int = 25) -> bytes:
    """Frames shown at the given milliseconds, in a container whose header says `rate` frames per second."""
    stream = io.BytesIO()
    with av.open(stream, "w", format="matroska") as container:
        video = container.add_stream("mpeg4", rate=rate)
        video.width, video.height, video.pix_fmt, video.gop_size = 64, 48, "yuv420p", 12
        video.time_base = video.codec_context.time_base = Fraction(1, 1000)
        for number, time in enumerate(times):
            pixels = np.full((48, 64, 3), number * 40 % 256, dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return stream.getvalue()


HOURS_8 = tuple(range(0, 8 * 3600 * 1000, 20_000))
UNEVEN = (0, 40, 80, 1000, 1040, 2960, 3000)


def image(width: int = 40, height: int = 30) -> Media:
    return probe_image(jpeg(width, height), f"{width}x{height}.jpg")


def video(times: tuple[int, ...], rate: int = 25) -> Media:
    return probe_video(clip(times, rate), f"{len(times)}.mkv")


def row(name: str, *media: Media, answers: Sequence[str] = ("A ship.",), task: str = "user_qa", **meta: Any) -> Row:
    conversations = tuple(
        (Turn(role="user", content="What is it?"), Turn(role="assistant", content=answer)) for answer in answers
    )
    return Row(id=name, task=task, media=media, conversations=conversations, meta=meta)


def too_large() -> Media:
    return Media(kind="image", data=b"\x89PNG", path="bomb.png", width=9000, height=9000)


def cut() -> Media:
    whole = image()
    return Media(kind="image", data=whole.data[:100], path="cut.jpg", width=whole.width, height=whole.height)


def worst() -> list[Row]:
    seen = [{"media": number, "t": float(number), "id": number, "x": 0.5, "y": 0.5} for number in range(1, 7)]
    return [
        row("ordinary", image()),
        row("zero tokens", image(), answers=[""]),
        row("over-long", image(), answers=["word " * 500]),
        row("over-long second branch", image(), answers=["A ship.", "word " * 500]),
        row("empty caption", image(), answers=[" "], task="long_caption"),
        row("10 megapixels", image(3650, 2740)),
        row("81 megapixels", too_large()),
        row("five images", *[image()] * 5),
        row("six images", *[image()] * 6, answers=[""], task="multi_image_pointing", points=[seen], label=["ship"]),
        row("one frame", video((0,))),
        row("variable rate", video(UNEVEN)),
        row("eight hours", video(HOURS_8)),
        row("wrong rate in the header", video(UNEVEN, rate=120)),
        row("cut image", cut()),
    ]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> SnapshotDataset:
    directory = tmp_path_factory.mktemp("snapshot") / "worst"
    write_dataset(directory, {"train": iter(worst())}, dataset="worst", source={"from": "tests"}, licence="CC0")
    return SnapshotDataset.open(directory)


@pytest.fixture(scope="module")
def index(dataset: SnapshotDataset, tmp_path_factory: pytest.TempPathFactory) -> LengthIndex:
    found = partial(measure, dataset="worst", params=feed(), tokens=tokens())
    return build_index(dataset, "train", found, measure_key="k", cache=tmp_path_factory.mktemp("index"))


@pytest.fixture(scope="module")
def plan(index: LengthIndex, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    usable = index.usable
    columns = {name: getattr(index, name)[usable] for name in ("tokens", "visual", "inputs", "labels")}
    data = DatasetInput(
        manifest_fingerprint="m",
        index_fingerprint=index.fingerprint,
        rows=usable,
        excluded=index.counts_by_reason(),
        changed=index.notes,
        **columns,
    )
    inputs = PlanInputs(
        datasets={"worst": data},
        mixture=MixtureParameters(kind="sqrt"),
        budget=Budget(tokens=LENGTH, inputs=INPUTS),
        packs_per_step=2,
        steps=3,
        seed=0,
    )
    return build_plan(inputs=inputs, cache=tmp_path_factory.mktemp("plan"))


def test_what_cannot_be_used_is_left_out_by_reason(dataset: SnapshotDataset, index: LengthIndex, plan: Plan) -> None:
    out = {"zero tokens", "over-long", "empty caption", "81 megapixels"}
    used = {dataset.row("train", int(number)).id for number in index.usable}
    assert used == {one.id for one in worst()} - out
    assert index.counts_by_reason() == {EMPTY_ANSWER: 2, TOO_LONG: 1, TOO_LARGE: 1}
    assert plan.summary["datasets"]["worst"]["excluded"] == index.counts_by_reason()
    assert plan.summary["datasets"]["worst"]["changed"] == index.notes
    assert {one.row for step in range(3) for slot in range(2) for one in plan.pack(step, slot)} <= set(index.usable)


def test_what_is_changed_of_a_row_that_is_used_is_counted(index: LengthIndex) -> None:
    assert index.notes[DROPPED_BRANCHES] == 1
    assert index.notes[DROPPED_IMAGES] == 1
    assert index.notes[HIDDEN_POINTS] == 1
    # Four frames are the parameter here, and a pack holds them: nothing is reduced, and nothing says so.
    assert FEWER_FRAMES not in index.notes


def test_ten_megapixels_are_ordinary(dataset: SnapshotDataset, index: LengthIndex) -> None:
    number = [one.id for one in worst()].index("10 megapixels")
    assert dataset.row("train", number).media[0].width * dataset.row("train", number).media[0].height > 10e6
    assert index.reason[number] == 0


@pytest.mark.parametrize(
    ("times", "rate", "shown"),
    [((0,), 25, [0]), (UNEVEN, 25, [0, 3, 4, 6]), (UNEVEN, 120, [0, 3, 4, 6]), (HOURS_8, 25, [0, 479, 959, 1439])],
    ids=["one frame", "variable rate", "wrong rate in the header", "eight hours"],
)
def test_frame_times_decide_what_is_shown(times: tuple[int, ...], rate: int, shown: list[int]) -> None:
    """Uniform over the whole clip, the last frame kept, by presentation time; the header's rate plays no part."""
    medium = video(times, rate)
    parameters = feed()
    planned = plan_frames(
        medium,
        parameters.video,
        max_tokens=LENGTH,
        inputs_budget=INPUTS,
        frame_tokens=parameters.geometry.frame_tokens,
    )
    assert planned[0] == 0
    assert frame_indices(frame_table(medium.data, medium.path), planned) == shown


def test_every_step_decodes_and_counts_what_kept_its_place(dataset: SnapshotDataset, plan: Plan) -> None:
    reader = PlanFeed(plan, {"worst": dataset}, feed(), tokens(), rank=0, world=1, micro_batch=1)
    cut_row = [one.id for one in worst()].index("cut image")
    planned = broken = 0
    for step in range(plan.steps):
        found = reader.step(step)
        planned += sum(one.row == cut_row for one in found.rows)
        broken += len(found.broken)
        assert found.weight > 0
        for batch in found.batches:
            assert batch.input_ids.shape[1] == LENGTH
            assert np.isfinite(batch.weights).all()
    assert planned > 0
    assert broken == planned
