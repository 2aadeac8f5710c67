"""The parts of a sequence as ids: images, frames, subtitles and turns. Source: molmo2 spec sections 5, 6 and 7."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from trackyard.feed.geometry import Tiling, VisionGeometry
from trackyard.feed.tokens import TokenTable
from trackyard.feed.tree import Stretch


def image_tokens(tiling: Tiling, geometry: VisionGeometry, tokens: TokenTable) -> list[int]:
    """Ids of one image: the global view, then the high-resolution view with a column token after each row."""
    patch, end = tokens.added("<im_patch>"), tokens.added("<im_end>")
    low = [tokens.added("<low_res_im_start>"), *[patch] * geometry.image_side**2, end]
    row = [*[patch] * tiling.grid_cols, tokens.added("<im_col>")]
    return [*low, tokens.added("<im_start>"), *row * tiling.grid_rows, end]


def frame_tokens(geometry: VisionGeometry, tokens: TokenTable) -> list[int]:
    """Ids of one video frame, without its time text."""
    patches = [tokens.added("<im_patch>")] * geometry.frame_features
    return [tokens.added("<frame_start>"), *patches, tokens.added("<frame_end>")]


def subtitle_text(cues: Sequence[Sequence[float | str]], times: Sequence[Fraction], start: Fraction) -> str:
    """The subtitles near the frames shown (+-1 s), one line per cue, times from the clip's start; "" without any."""
    lines = []
    for begin, end, text in cues:
        first, last = float(begin) - float(start), float(end) - float(start)
        if any(first - 1 <= time <= last + 1 for time in times):
            lines.append(f"{max(first, 0.0):.1f} - {last:.1f} {' '.join(str(text).split())}\n")
    return "".join(["subtitle\n", *lines]) if lines else ""


def branch_of(turns: Sequence[tuple[str, str]], tokens: TokenTable) -> list[Stretch]:
    """A conversation as tokens: alternately what is given and what is learned, the answer with its closing token.

    Text is encoded in the pieces that the chat template leaves between special tokens; an answer is a piece of its own,
    as it is when a model continues a prompt.
    """
    newline, answer = tokens.encode("\n"), [tokens.turn_start, *tokens.encode("assistant\n")]
    branch = []
    for number, (user, assistant) in enumerate(turns):
        between = newline if number else []
        asked = [tokens.turn_start, *tokens.encode(f"user\n{user}"), tokens.turn_end, *newline]
        closing = tokens.eos if number == len(turns) - 1 else tokens.turn_end
        branch.append(Stretch([*between, *asked, *answer]))
        branch.append(Stretch([*tokens.encode(assistant), closing], learned=True))
    return branch
