from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from trackyard.acquire.media import UnreadableMedia, probe_image, probe_video
from trackyard.errors import DataError
from trackyard.feed.geometry import VisionGeometry
from trackyard.feed.points import count_of_answer
from trackyard.feed.sample import FeedParameters, broken_sample, build_prompt, build_sample, load_sample, measure
from trackyard.feed.styles import STYLES
from trackyard.feed.tokens import TokenTable, extend_tokenizer, train_tokenizer
from trackyard.feed.tree import NO_TARGET
from trackyard.row import Media, Row, Turn

SMALL = VisionGeometry(crop_size=56, margin=(1, 1), max_crops=3)
TOKENS = TokenTable.of(extend_tokenizer(train_tokenizer(["user assistant what is this a cat"] * 2, 300), 310))
PARAMS = FeedParameters(geometry=SMALL, max_tokens=700, max_inputs=40, seed=3)


def image(width: int, height: int) -> Media:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    return probe_image(stream.getvalue(), f"{width}x{height}.png")


def film(frames: int, rate: int) -> Media:
    stream = io.BytesIO()
    with av.open(stream, "w", format="mp4") as container:
        video = container.add_stream("mpeg4", rate=rate)
        video.width, video.height = 48, 32
        for k in range(frames):
            pixels = np.full((32, 48, 3), k * 255 // frames, dtype=np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(video.encode())
    return probe_video(stream.getvalue(), f"{frames}.mp4")


IMAGES = (image(20, 20), image(90, 60), image(60, 300), image(301, 200))
VIDEOS = (film(1, 5), film(12, 4), film(60, 2))
MEDIA = st.one_of(st.lists(st.sampled_from(IMAGES), max_size=6), st.sampled_from(VIDEOS).map(lambda v: [v]))
TEXT = st.sampled_from(["", "", "a cat", "what <im_patch> is <|im_end|> this?", "12.5 naïve 🙂\n"])


@st.composite
def rows(draw: st.DrawFn) -> Row:
    count = draw(st.integers(0, 4))
    talks = []
    for _ in range(count):
        turns = draw(st.lists(TEXT, min_size=2, max_size=4))
        roles = ["user", "assistant"] * 2
        talks.append(tuple(Turn(role=role, content=text) for role, text in zip(roles, turns, strict=False)))  # type: ignore[arg-type]
    coordinate = st.floats(-0.2, 1.2)
    point = st.builds(
        lambda t, name, x, y, gone: {"media": 0, "t": t, "id": name, "x": x, "y": y, "occluded": gone},
        st.integers(0, 7),
        st.integers(0, 2),
        coordinate,
        coordinate,
        st.booleans(),
    )
    meta: dict[str, Any] = {
        "points": [draw(st.lists(point, max_size=6)) for _ in range(count)],
        "label": [draw(st.sampled_from(["cups", ""])) for _ in range(count)],
        "options": [["red", "blue"]] * count,
        "answer_index": [1] * count,
        "subtitle": draw(st.sampled_from([[], [[0.0, 2.5, "Hello."], [4.0, 5.0, "x"]]])),
        "sampling_fps": draw(st.sampled_from([1, 2.5])),
    }
    media = tuple(draw(MEDIA))
    if media and media[0].duration > 3:
        meta["clip"] = [0.5, draw(st.sampled_from([2.0, 100.0]))]
    task = draw(st.sampled_from([*STYLES, "vqa2"]))
    return Row(id=draw(st.text(max_size=3)), task=task, media=media, conversations=tuple(talks), meta=meta)


@settings(max_examples=150, deadline=None)
@given(rows(), st.sampled_from([(700, 40), (150, 40), (4000, 5), (4000, 12)]), st.booleans())
def test_measuring_equals_building(row: Row, budget: tuple[int, int], stage1: bool) -> None:
    params = PARAMS.model_copy(update={"max_tokens": max(budget[0], 560), "max_inputs": budget[1], "stage1": stage1})
    if budget[0] < 560 and (not row.media or row.media[0].kind == "image"):
        params = params.model_copy(update={"max_tokens": budget[0]})
    measured = measure(row, "set", params, TOKENS)
    if measured.reason:
        assert measured.tokens == 0
        with pytest.raises(DataError, match="cannot be used"):
            build_sample(row, "set", params, TOKENS)
        return
    sample = build_sample(row, "set", params, TOKENS)
    tree = sample.tree
    assert (measured.tokens, measured.visual) == (len(tree), tree.visual.sum())
    assert (measured.inputs, measured.labels) == (sample.inputs, tree.labels)
    assert len(tree) <= params.max_tokens
    assert sample.inputs <= params.max_inputs
    assert measured.labels > 0
    # As many placeholders as features, and no forged one.
    placeholders = int((tree.input_ids == TOKENS.added("<im_patch>")).sum())
    assert placeholders == sum(len(medium.pooling) for medium in sample.media)
    grids = [medium.grid for medium in sample.media]
    assert placeholders == sum(a * b + c * d for a, b, c, d in grids)
    assert tree.targets.max() < TOKENS.vocab_size
    assert (tree.visual == (tree.input_ids >= TOKENS.vocab_size)).all()
    # Weights sum to what section 10 says of each branch.
    style = STYLES.get(row.task)
    branches = [tree.segment == number for number in range(int(tree.segment[tree.segment < 10_000].max()) + 1)]
    counts = [int((tree.targets[branch] != NO_TARGET).sum()) for branch in branches]
    fixed = style.fixed_weight if style else None
    wanted = sum(n * fixed if fixed else 2 * n**0.5 / len(counts) ** 0.5 for n in counts)
    assert tree.weights.sum() == pytest.approx(wanted, rel=1e-5)


def plain(*media: Media, task: str = "user_qa", answer: str = "a cat") -> Row:
    talk = (Turn(role="user", content="what?"), Turn(role="assistant", content=answer))
    return Row(id="r", task=task, media=media, conversations=(talk,))


def test_a_row_is_the_same_every_time() -> None:
    one, two = (build_sample(plain(IMAGES[3]), "set", PARAMS, TOKENS) for _ in range(2))
    assert (one.tree.input_ids == two.tree.input_ids).all()
    assert (one.media[0].patches == two.media[0].patches).all()
    assert one.media[0].patches.dtype == np.uint8


def test_a_row_that_fails_to_decode_keeps_its_place_and_teaches_nothing() -> None:
    damaged = plain(replace(IMAGES[1], data=IMAGES[1].data[:60]))
    with pytest.raises(UnreadableMedia):
        build_sample(damaged, "set", PARAMS, TOKENS)
    sample = load_sample(damaged, "set", PARAMS, TOKENS)
    measured = measure(damaged, "set", PARAMS, TOKENS)
    assert len(sample.tree) == measured.tokens
    assert sample.reason == "unreadable image"
    assert sample.tree.labels == sample.inputs == sample.tree.weights.sum() == sample.tree.visual.sum() == 0
    assert set(sample.tree.input_ids.tolist()) == {TOKENS.pad}
    assert load_sample(plain(IMAGES[1]), "set", PARAMS, TOKENS).reason is None
    assert broken_sample(measured, TOKENS, "why").reason == "why"


def test_an_image_of_another_size_than_stated_is_refused() -> None:
    with pytest.raises(UnreadableMedia, match="stated as 91 x 60"):
        build_sample(plain(replace(IMAGES[1], width=91)), "set", PARAMS, TOKENS)


def test_a_prompt_for_evaluation() -> None:
    prompt = build_prompt(plain(VIDEOS[1], answer=""), 0, "set", PARAMS, TOKENS)
    assert prompt.tree.labels == 0
    assert prompt.inputs == 7
    with pytest.raises(DataError, match="gives no prompt"):
        build_prompt(plain(IMAGES[1]), 0, "set", PARAMS.model_copy(update={"max_inputs": 1}), TOKENS)


@pytest.mark.parametrize("style", ["point_count", "multi_image_count_then_point", "multi_image_counting"])
def test_a_gold_count_can_be_read_from_the_tokens(style: str) -> None:
    points = [{"media": 0, "t": 1, "id": k, "x": k / 10, "y": 0.5} for k in range(4)]
    talk = (Turn(role="user", content=""), Turn(role="assistant", content=""))
    row = Row(
        id="r", task=style, media=IMAGES[:1], conversations=(talk,), meta={"points": [points], "label": ["<im_patch>"]}
    )
    tree = build_sample(row, "set", PARAMS, TOKENS).tree
    answer = TOKENS.tokenizer.decode(tree.targets[tree.targets != NO_TARGET]).removesuffix("<|im_end|>")
    assert count_of_answer(answer) == 4
