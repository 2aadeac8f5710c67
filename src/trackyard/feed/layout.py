"""What one row becomes, decided from its metadata alone: media, resolution, branches and tokens.

Nothing is decoded here, so the index can measure millions of rows, and a sample is built from the same decisions.
Source: molmo2 spec sections 5 to 9.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Literal

import numpy as np
from pydantic import Field

from trackyard.acquire.media import MAX_PIXELS, TOO_LARGE
from trackyard.feed.frames import VideoParameters, clip_bounds, frame_limit, plan_frames, time_text
from trackyard.feed.geometry import Tiling, VisionGeometry, tile
from trackyard.feed.points import PointFormat
from trackyard.feed.prompts import Dialogue, Scope, Wording, chance, write_dialogue
from trackyard.feed.sequence import branch_of, frame_tokens, image_tokens, subtitle_text
from trackyard.feed.styles import Kind, style_of
from trackyard.feed.tokens import TokenTable
from trackyard.feed.tree import Stretch, TokenTree, grow_tree
from trackyard.parameters import Parameters
from trackyard.row import Media, Row

NO_CONVERSATION = "no conversation"
TOO_LONG = "longer than a pack: not even the first branch fits"
TOO_MANY_INPUTS = "more visual inputs than a pack holds"
SEVERAL_VIDEOS = "more than one video"
MIXED_MEDIA = "images and video in one row"

# What happened to a row that is used all the same.
FEWER_FRAMES = "frames of a video reduced to fit"
DROPPED_BRANCHES = "branches beyond the pack's length dropped"
DROPPED_IMAGES = "images beyond the limit dropped"
HIDDEN_POINTS = "points on media that are not shown dropped"
CLAMPED_POINTS = "points outside the image moved to its edge"
FEWER_CROPS = "pointing row shown at the ordinary resolution to fit"
UNUSABLE_BRANCHES = "branches dropped: "


class FeedParameters(Parameters):
    """Everything that decides what a row becomes. `seed` enters template, resolution and caption-length draws."""

    geometry: VisionGeometry = VisionGeometry()
    video: VideoParameters = VideoParameters()
    point_format: PointFormat = PointFormat.HTML_V2
    stage1: bool = False
    """Pointing rows carry their style as tag, captions their rough length."""
    evaluation: bool = False
    """Template 0, a caption length of 65, and no draw for high-resolution pointing."""
    max_images: int = Field(default=5, gt=0)
    pointing_crops: int = Field(default=24, gt=0)
    """K of the image-pointing rows that are drawn to be shown at high resolution."""
    pointing_share: float = Field(default=0.3, ge=0, le=1)
    max_tokens: int = Field(gt=0)
    """L: tokens per pack."""
    max_inputs: int = Field(gt=0)
    """I: crops and frames per pack."""
    loss_weights: dict[str, float] = Field(default={})
    """Factor on the loss weights of a dataset's rows, by its name; 1 where it is not named."""
    seed: int = 0

    @property
    def wording(self) -> Wording:
        """The part of it that prompts need."""
        return Wording(seed=self.seed, point_format=self.point_format, stage1=self.stage1, evaluation=self.evaluation)


@dataclass(frozen=True, kw_only=True, slots=True)
class Showing:
    """The media of a row that are shown. Of `tilings` (images) and `times` (a video), at most one is not empty.

    tilings: one per image. times: of the frames, seconds from the clip's start. start: of the clip, in the video.
    """

    kind: Literal["text", "image", "video"] = "text"
    media: tuple[Media, ...] = ()
    max_crops: int = 0
    tilings: tuple[Tiling, ...] = ()
    times: tuple[Fraction, ...] = ()
    start: Fraction = Fraction(0)

    @property
    def inputs(self) -> int:
        """Crops or frames."""
        return sum(tiling.inputs for tiling in self.tilings) + len(self.times)

    @property
    def scope(self) -> Scope:
        """What of the row's points lies on the media shown."""
        if self.kind == "video":
            return Scope(start=float(self.start), end=float(self.start + self.times[-1]))
        return Scope(images=len(self.media))


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """The decisions on one row. reason: why it cannot be used, then tree and showing are empty; None otherwise.

    notes: what was dropped or changed, by reason, in a row that is used all the same.
    """

    tree: TokenTree | None = None
    reason: str | None = None
    showing: Showing = Showing()
    notes: Mapping[str, int] = field(default_factory=dict)


def lay_out(row: Row, dataset: str, params: FeedParameters, tokens: TokenTable) -> Layout:
    """Decide what `row` of `dataset` becomes. A pure function of its arguments; no media is decoded.

    Raises DataError for meta that contradicts itself, ConfigError when the budgets hold no frame at all.
    """
    if not row.conversations:
        return Layout(reason=NO_CONVERSATION)
    reason = _refusal(row)
    if reason:
        return Layout(reason=reason)
    showings = _showings(row, dataset, params)
    if showings[-1].inputs > params.max_inputs:
        return Layout(reason=TOO_MANY_INPUTS)
    notes: Counter[str] = Counter()
    dialogues, reason = _dialogues(row, dataset, showings[-1], params, notes)
    if reason:
        return Layout(reason=reason)
    branches = [branch_of(dialogue.turns, tokens) for dialogue in dialogues]
    style = style_of(row.task)
    for showing in showings:
        prefix = _prefix(row, showing, params.geometry, tokens)
        kept = _fitting(prefix, branches, params.max_tokens)
        last = showing is showings[-1]
        if showing.inputs <= params.max_inputs and (last or kept == len(branches)) and kept:
            notes += _media_notes(row, showing, showings[0], params)
            notes += Counter({DROPPED_BRANCHES: len(branches) - kept})
            tree = grow_tree(prefix, branches[:kept], style, vocab_size=tokens.vocab_size)
            tree = replace(tree, weights=tree.weights * np.float32(params.loss_weights.get(dataset, 1.0)))
            return Layout(tree=tree, showing=showing, notes=dict(notes))
    return Layout(reason=TOO_LONG)


def lay_out_prompt(
    row: Row, branch: int, dataset: str, params: FeedParameters, tokens: TokenTable
) -> tuple[TokenTree | None, Showing]:
    """The prompt of one conversation, up to where the model's answer begins; None where the row cannot be shown.

    Earlier turn pairs of the conversation are given with their answers. Nothing in it is a target.
    """
    showing = Showing() if _refusal(row) else _showings(row, dataset, params)[-1]
    dialogue = write_dialogue(row, branch, dataset, showing.scope, params.wording, answered=False)
    if _refusal(row) or dialogue.reason or showing.inputs > params.max_inputs:
        return None, Showing()
    prefix = _prefix(row, showing, params.geometry, tokens)
    stretches = [Stretch(stretch.ids) for stretch in branch_of(dialogue.turns, tokens)[:-1]]
    if not _fitting(prefix, [stretches], params.max_tokens):
        return None, Showing()
    return grow_tree(prefix, [stretches], style_of(row.task), vocab_size=tokens.vocab_size), showing


def _refusal(row: Row) -> str | None:
    """Why the media of a row cannot be shown at all."""
    videos = sum(medium.kind == "video" for medium in row.media)
    if videos > 1:
        return SEVERAL_VIDEOS
    if videos and len(row.media) > 1:
        return MIXED_MEDIA
    return TOO_LARGE if any(medium.width * medium.height > MAX_PIXELS for medium in row.media) else None


def _showings(row: Row, dataset: str, params: FeedParameters) -> list[Showing]:
    """The ways to show a row's media, the preferred one first: high resolution where it was drawn, then ordinary."""
    if not row.media:
        return [Showing()]
    first = row.media[0]
    if first.kind == "video":
        clip = _clip(row)
        times = plan_frames(
            first,
            params.video,
            max_tokens=params.max_tokens,
            inputs_budget=params.max_inputs,
            frame_tokens=params.geometry.frame_tokens,
            clip=clip,
            trim=style_of(row.task).kind is Kind.TRACKS,
        )
        return [Showing(kind="video", media=row.media, times=tuple(times), start=clip_bounds(first, clip)[0])]
    crops = [params.geometry.max_crops]
    sharp = style_of(row.task).kind is Kind.POINTS and not params.evaluation
    if sharp and chance(params.seed, "resolution", dataset, row.id) < params.pointing_share:
        crops.insert(0, params.pointing_crops)
    shown = row.media[: params.max_images]
    return [
        Showing(
            kind="image",
            media=shown,
            max_crops=limit,
            tilings=tuple(tile(medium.height, medium.width, params.geometry, limit) for medium in shown),
        )
        for limit in crops
    ]


def _clip(row: Row) -> tuple[float, float] | None:
    clip = row.meta.get("clip")
    return None if clip is None else (float(clip[0]), float(clip[1]))


def _dialogues(
    row: Row, dataset: str, showing: Showing, params: FeedParameters, notes: Counter[str]
) -> tuple[list[Dialogue], str | None]:
    """The usable conversations in words, and the reason to refuse the row where there is none."""
    scope = showing.scope
    written = [write_dialogue(row, index, dataset, scope, params.wording) for index in range(len(row.conversations))]
    usable = [dialogue for dialogue in written if not dialogue.reason]
    if not usable:
        return [], written[0].reason
    notes.update(UNUSABLE_BRANCHES + dialogue.reason for dialogue in written if dialogue.reason)
    notes[HIDDEN_POINTS] = sum(dialogue.hidden for dialogue in usable)
    notes[CLAMPED_POINTS] = sum(dialogue.clamped for dialogue in usable)
    return usable, None


def _media_notes(row: Row, showing: Showing, preferred: Showing, params: FeedParameters) -> Counter[str]:
    notes = Counter({DROPPED_IMAGES: len(row.media) - len(showing.media), FEWER_CROPS: int(showing is not preferred)})
    if showing.kind == "video":
        start, end = clip_bounds(row.media[0], _clip(row))
        limit = frame_limit(
            end - start,
            params.video,
            max_tokens=params.max_tokens,
            inputs_budget=params.max_inputs,
            frame_tokens=params.geometry.frame_tokens,
        )
        notes[FEWER_FRAMES] = int(len(showing.times) == limit < params.video.max_frames)
    return notes


def _prefix(row: Row, showing: Showing, geometry: VisionGeometry, tokens: TokenTable) -> list[Stretch]:
    """bos and media: each image in its two views, or each frame with its time, then subtitles."""
    prefix = [Stretch([tokens.bos])]
    for number, tiling in enumerate(showing.tilings, start=1):
        if len(showing.tilings) > 1:
            prefix.append(Stretch(tokens.encode(f"Image {number}")))
        prefix.append(Stretch(image_tokens(tiling, geometry, tokens), visual=True))
    frame = frame_tokens(geometry, tokens)
    for number, time in enumerate(showing.times):
        prefix += [Stretch(tokens.encode(time_text(number, time))), Stretch(frame, visual=True)]
    if showing.kind == "video" and row.meta.get("subtitle"):
        prefix.append(Stretch(tokens.encode(subtitle_text(row.meta["subtitle"], showing.times, showing.start))))
    return prefix


def _fitting(prefix: Sequence[Stretch], branches: Sequence[Sequence[Stretch]], max_tokens: int) -> int:
    """How many branches, from the first, fit a pack whole."""
    used, kept = sum(len(stretch.ids) for stretch in prefix), 0
    for branch in branches:
        used += sum(len(stretch.ids) for stretch in branch)
        if used > max_tokens:
            break
        kept += 1
    return kept
