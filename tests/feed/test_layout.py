from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from trackyard.errors import ConfigError, DataError
from trackyard.feed import layout as reasons
from trackyard.feed.frames import VideoParameters
from trackyard.feed.geometry import VisionGeometry
from trackyard.feed.layout import FeedParameters, Layout, lay_out, lay_out_prompt
from trackyard.feed.prompts import EMPTY_ANSWER
from trackyard.feed.tokens import TokenTable, extend_tokenizer, train_tokenizer
from trackyard.feed.tree import NO_TARGET, PREFIX_SEGMENT
from trackyard.row import Media, Row, Turn

SMALL = VisionGeometry(crop_size=56, margin=(1, 1), max_crops=2)
IMAGE = Media(kind="image", data=b"", path="a.png", width=90, height=60)
VIDEO = Media(kind="video", data=b"", path="a.mp4", width=64, height=48, frames=40, fps=4.0, duration=10.0)
POINT = {"media": 0, "t": 1, "id": 1, "x": 0.25, "y": 0.5}


@pytest.fixture(scope="module")
def tokens() -> TokenTable:
    texts = ["user assistant subtitle Image 1 what is this a cat and a dog"] * 2
    return TokenTable.of(extend_tokenizer(train_tokenizer(texts, 300), 310))


def params(**values: Any) -> FeedParameters:
    return FeedParameters(**{"geometry": SMALL, "max_tokens": 4000, "max_inputs": 64, **values})


def talk(*texts: str) -> tuple[Turn, ...]:
    roles = ["user", "assistant"] * len(texts)
    return tuple(Turn(role=role, content=text) for role, text in zip(roles, texts, strict=False))  # type: ignore[arg-type]


def row(*talks: tuple[Turn, ...], task: str = "user_qa", media: tuple[Media, ...] = (IMAGE,), **meta: Any) -> Row:
    return Row(id="r", task=task, media=media, conversations=talks or (talk("what?", "a cat"),), meta=meta)


def lay(r: Row, tokens: TokenTable, **values: Any) -> Layout:
    return lay_out(r, "set", params(**values), tokens)


def text_of(layout: Layout, tokens: TokenTable) -> str:
    assert layout.tree is not None
    patch = "<im_patch>"
    text = str(tokens.tokenizer.decode(layout.tree.input_ids))
    while patch + patch in text:
        text = text.replace(patch + patch, patch)
    return text


def test_the_layouts_of_section_7(tokens: TokenTable) -> None:
    view = "<low_res_im_start><im_patch><im_end><im_start><im_patch><im_col><im_patch><im_col><im_end>"
    square = Media(kind="image", data=b"", path="s.png", width=56, height=56)
    end = "<|im_start|>user\nvqa2: what?<|im_end|>\n<|im_start|>assistant\na cat<|im_end|>"
    one = lay(row(task="vqa2", media=(square,)), tokens)
    assert text_of(one, tokens) == f"<|im_end|>{view}{end}"
    two = lay(row(task="vqa2", media=(square, square)), tokens)
    assert text_of(two, tokens) == f"<|im_end|>Image 1{view}Image 2{view}{end}"
    film = row(task="vqa2", media=(VIDEO,), clip=[2.0, 3.0], subtitle=[[2.0, 4.5, "Hello."]])
    frame = "<frame_start><im_patch><frame_end>"
    assert text_of(lay(film, tokens), tokens) == (
        f"<|im_end|>0.0 {frame} 0.5 {frame} 1.0 {frame}subtitle\n0.0 - 2.5 Hello.\n{end}"
    )
    assert text_of(lay(row(task="vqa2", media=()), tokens), tokens) == f"<|im_end|>{end}"


def test_ids_equal_those_of_the_chat_template(tokens: TokenTable) -> None:
    """Another way to the same ids: the template as text, media expanded, the tokenizer's own parser."""
    ours = lay(row(talk("what is this?", "a cat", "and?", "a dog"), media=(IMAGE, IMAGE)), tokens)
    content: list[dict[str, str]] = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": "what is this?"}]
    messages = [
        {"role": "user", "content": content},
        {"role": "assistant", "content": "a cat"},
        {"role": "user", "content": "and?"},
        {"role": "assistant", "content": "a dog"},
    ]
    text = tokens.tokenizer.apply_chat_template(messages, tokenize=False)
    tiling = ours.showing.tilings[0]
    low = "<low_res_im_start>" + "<im_patch>" * SMALL.image_side**2 + "<im_end>"
    high = ("<im_patch>" * tiling.grid_cols + "<im_col>") * tiling.grid_rows
    ids = tokens.tokenizer(text.replace("<|image|>", f"{low}<im_start>{high}<im_end>"), add_special_tokens=False)
    assert ours.tree is not None
    assert ours.tree.input_ids.tolist() == ids["input_ids"]


def test_only_answers_and_their_closing_are_learned(tokens: TokenTable) -> None:
    layout = lay(row(talk("what?", "a cat", "and?", "a dog")), tokens)
    assert layout.tree is not None
    learned = layout.tree.targets[layout.tree.targets != NO_TARGET]
    assert tokens.tokenizer.decode(learned) == "a cat<|im_end|>a dog<|im_end|>"


def test_visual_flags_cover_the_added_tokens_only(tokens: TokenTable) -> None:
    for media in ((IMAGE, IMAGE), (VIDEO,)):
        tree = lay(row(media=media), tokens).tree
        assert tree is not None
        assert (tree.visual == (tree.input_ids >= tokens.vocab_size)).all()


def test_branches_share_a_prefix_and_restart_behind_it(tokens: TokenTable) -> None:
    tree = lay(row(talk("what?", "a cat"), talk("and?", "a dog")), tokens).tree
    assert tree is not None
    prefix = int((tree.segment == PREFIX_SEGMENT).sum())
    assert tree.position[tree.segment == 0][0] == tree.position[tree.segment == 1][0] == prefix


def test_branches_beyond_the_pack_are_dropped_whole_and_counted(tokens: TokenTable) -> None:
    talks = [talk("what?", "a cat"), talk("and?", "a dog"), talk("what?", "a")]
    whole = lay(row(*talks), tokens)
    assert whole.tree is not None
    size = len(whole.tree)
    cut = lay(row(*talks), tokens, max_tokens=size - 1)
    assert cut.tree is not None
    assert (cut.tree.segment == whole.tree.segment[: len(cut.tree)]).all()
    assert cut.notes[reasons.DROPPED_BRANCHES] == 1
    assert lay(row(*talks), tokens, max_tokens=20).reason == reasons.TOO_LONG
    # Two branches left: the weight of the length rule follows the branches that are kept.
    assert cut.tree.weights.max() > whole.tree.weights[: len(cut.tree)].max()


def test_unusable_branches_are_dropped_and_the_row_only_when_none_is_left(tokens: TokenTable) -> None:
    layout = lay(row(talk("what?", "a cat"), talk("and?", "")), tokens)
    assert layout.tree is not None
    assert layout.notes == {f"{reasons.UNUSABLE_BRANCHES}{EMPTY_ANSWER}": 1}
    assert lay(row(talk("and?", "")), tokens).reason == EMPTY_ANSWER


def test_rows_that_cannot_be_shown(tokens: TokenTable) -> None:
    huge = Media(kind="image", data=b"", path="h.png", width=10_000, height=10_000)
    assert lay(row(media=(huge,)), tokens).reason == "image above 64 megapixels"
    assert lay(row(media=(VIDEO, VIDEO)), tokens).reason == reasons.SEVERAL_VIDEOS
    assert lay(row(media=(VIDEO, IMAGE)), tokens).reason == reasons.MIXED_MEDIA
    assert lay(row(), tokens, max_inputs=1).reason == reasons.TOO_MANY_INPUTS
    assert lay(Row(id="r", task="x", conversations=()), tokens).reason == reasons.NO_CONVERSATION


def test_the_first_five_images_are_shown_and_points_on_others_dropped(tokens: TokenTable) -> None:
    points = [{**POINT, "t": t} for t in range(1, 8)]
    counted = row(talk("", ""), task="multi_image_point_then_count", media=(IMAGE,) * 7, points=[points], label=["x"])
    layout = lay(counted, tokens, pointing_share=0.0)
    assert len(layout.showing.media) == 5
    assert layout.notes == {reasons.DROPPED_IMAGES: 2, reasons.HIDDEN_POINTS: 2}
    assert "total of 5." in text_of(layout, tokens)


def test_a_share_of_pointing_rows_is_shown_at_high_resolution(tokens: TokenTable) -> None:
    wide = Media(kind="image", data=b"", path="w.png", width=900, height=600)

    def crops(task: str, **values: Any) -> list[int]:
        found = []
        for k in range(200):
            shown = Row(
                id=str(k),
                task=task,
                media=(wide,),
                conversations=(talk("", ""),) if task == "pointing" else (talk("what?", "a"),),
                meta={"points": [[POINT]], "label": ["x"]},
            )
            found.append(lay(shown, tokens, **values).showing.max_crops)
        return found

    assert 40 <= crops("pointing").count(24) <= 80
    assert crops("pointing").count(24) + crops("pointing").count(2) == 200
    assert set(crops("user_qa")) == set(crops("pointing", evaluation=True)) == {2}


def test_high_resolution_gives_way_where_it_does_not_fit(tokens: TokenTable) -> None:
    wide = Media(kind="image", data=b"", path="w.png", width=900, height=600)
    pointing = row(talk("", ""), task="pointing", media=(wide,), points=[[POINT]], label=["x"])
    sharp = lay(pointing, tokens, pointing_share=1.0)
    assert sharp.tree is not None
    assert sharp.showing.max_crops == 24
    reduced = lay(pointing, tokens, pointing_share=1.0, max_inputs=4)
    assert reduced.showing.max_crops == 2
    assert reduced.notes == {reasons.FEWER_CROPS: 1}
    shorter = lay(pointing, tokens, pointing_share=1.0, max_tokens=len(sharp.tree) - 1)
    assert shorter.notes == {reasons.FEWER_CROPS: 1}


def test_videos_are_fitted_or_refused(tokens: TokenTable) -> None:
    film = row(media=(VIDEO,))
    assert len(lay(film, tokens).showing.times) == 21
    reduced = lay(film, tokens, max_inputs=8)
    assert len(reduced.showing.times) == reduced.showing.inputs == 8
    assert reduced.notes == {reasons.FEWER_FRAMES: 1}
    with pytest.raises(ConfigError, match="max_frames=128"):
        lay(film, tokens, max_inputs=8, video=VideoParameters(fit="error"))


def test_tracking_cuts_the_clip_and_its_points(tokens: TokenTable) -> None:
    points = [{**POINT, "t": t} for t in (0.0, 2.0, 8.0)]
    track = row(
        talk("", ""), task="video_point_track_per_frame", media=(VIDEO,), points=[points], label=["x"], sampling_fps=1
    )
    layout = lay(track, tokens, max_inputs=9)
    assert [float(t) for t in layout.showing.times] == [k / 2 for k in range(9)]
    assert layout.notes[reasons.HIDDEN_POINTS] == 1
    assert 'coords="0.0 1 250 500;2.0 1 250 500"' in text_of(layout, tokens)


def test_points_outside_the_image_are_counted(tokens: TokenTable) -> None:
    out = row(talk("", ""), task="pointing", points=[[{**POINT, "y": 1.2}]], label=["x"])
    assert lay(out, tokens, pointing_share=0.0).notes == {reasons.CLAMPED_POINTS: 1}


def test_a_prompt_is_the_row_up_to_the_answer(tokens: TokenTable) -> None:
    both = row(talk("what?", "a cat"), talk("and?", ""))
    prompt, showing = lay_out_prompt(both, 1, "set", params(evaluation=True), tokens)
    assert prompt is not None
    assert showing.media == (IMAGE,)
    assert prompt.labels == 0
    assert np.diff(prompt.position).tolist() == [1] * (len(prompt) - 1)
    assert tokens.tokenizer.decode(prompt.input_ids).endswith("user\nand?<|im_end|>\n<|im_start|>assistant\n")
    assert lay_out_prompt(row(talk("", "")), 0, "set", params(), tokens)[0] is None
    assert lay_out_prompt(both, 1, "set", params(max_tokens=10), tokens)[0] is None


def test_contradictory_meta_is_an_error(tokens: TokenTable) -> None:
    with pytest.raises(DataError, match="clip"):
        lay(row(media=(VIDEO,), clip=[11.0, 12.0]), tokens)


def test_a_dataset_has_a_factor_on_its_loss_weights(tokens: TokenTable) -> None:
    plain, weighed = lay(row(), tokens).tree, lay(row(), tokens, loss_weights={"set": 0.5, "other": 9.0}).tree
    assert plain is not None
    assert weighed is not None
    assert plain.labels > 0
    assert np.array_equal(weighed.weights, plain.weights * np.float32(0.5))
