from __future__ import annotations

from fractions import Fraction

import pytest

from trackyard.feed.geometry import VisionGeometry, tile
from trackyard.feed.sequence import branch_of, frame_tokens, image_tokens, subtitle_text
from trackyard.feed.tokens import TokenTable, extend_tokenizer, train_tokenizer

REAL = VisionGeometry()


@pytest.fixture(scope="module")
def tokens() -> TokenTable:
    return TokenTable.of(extend_tokenizer(train_tokenizer(["user assistant subtitle one two"] * 2, 280), 290))


@pytest.mark.parametrize(("height", "width", "crops", "total"), [(378, 378, 8, 410), (1080, 1920, 24, 2804)])
def test_an_image_has_the_tokens_of_section_5(
    tokens: TokenTable, height: int, width: int, crops: int, total: int
) -> None:
    tiling = tile(height, width, REAL, crops)
    ids = image_tokens(tiling, REAL, tokens)
    assert len(ids) == total == tiling.tokens
    assert ids.count(tokens.added("<im_patch>")) == tiling.pooled
    assert ids.count(tokens.added("<im_col>")) == tiling.grid_rows
    assert ids[0] == tokens.added("<low_res_im_start>")
    assert ids[197:199] == [tokens.added("<im_end>"), tokens.added("<im_start>")]
    assert ids[-2:] == [tokens.added("<im_col>"), tokens.added("<im_end>")]


def test_a_frame_has_83_tokens(tokens: TokenTable) -> None:
    ids = frame_tokens(REAL, tokens)
    assert len(ids) == 83
    assert (ids[0], ids[-1]) == (tokens.added("<frame_start>"), tokens.added("<frame_end>"))


def test_subtitles_near_the_frames_are_kept() -> None:
    cues = [[0.0, 2.5, "Hello."], [9.0, 9.5, "far"], [3.9, 5.0, "two\nlines"]]
    times = [Fraction(0), Fraction(3)]
    assert subtitle_text(cues, times, Fraction(0)) == "subtitle\n0.0 - 2.5 Hello.\n3.9 - 5.0 two lines\n"
    assert subtitle_text([[10.0, 12.0, "late"]], times, Fraction(9)) == "subtitle\n1.0 - 3.0 late\n"
    assert subtitle_text(cues[1:2], times, Fraction(0)) == ""


def test_a_branch_learns_every_answer_and_one_closing_token_each(tokens: TokenTable) -> None:
    branch = branch_of([("one", "two"), ("two", "one")], tokens)
    text = tokens.tokenizer.decode([token for stretch in branch for token in stretch.ids])
    assert text == (
        "<|im_start|>user\none<|im_end|>\n<|im_start|>assistant\ntwo<|im_end|>\n"
        "<|im_start|>user\ntwo<|im_end|>\n<|im_start|>assistant\none<|im_end|>"
    )
    learned = [tokens.tokenizer.decode(stretch.ids) for stretch in branch if stretch.learned]
    assert learned == ["two<|im_end|>", "one<|im_end|>"]
