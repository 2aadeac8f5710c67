"""One row as the model sees it: what it costs without decoding (`measure`), and what it is (`build_sample`).

Both follow one layout, so they cannot disagree. Source: molmo2 spec section 9.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trackyard.acquire.media import UnreadableMedia
from trackyard.errors import DataError
from trackyard.feed.images import ImageInputs, load_image, prepare_image
from trackyard.feed.layout import FeedParameters, Showing, lay_out, lay_out_prompt
from trackyard.feed.tokens import TokenTable
from trackyard.feed.tree import TokenTree, blank_tree
from trackyard.feed.videos import VideoInputs, prepare_video
from trackyard.row import Row
from trackyard.snapshot.index import Measured


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One row, ready to be packed. media: in the order of their placeholders in `tree`.

    notes: what was dropped or changed, by reason. reason: why the row teaches nothing (it only keeps its place).
    """

    tree: TokenTree
    media: tuple[ImageInputs | VideoInputs, ...] = ()
    notes: Mapping[str, int] = field(default_factory=dict)
    reason: str | None = None

    @property
    def inputs(self) -> int:
        """Crops and frames."""
        return sum(len(medium.patches) for medium in self.media)


def measure(row: Row, dataset: str, params: FeedParameters, tokens: TokenTable) -> Measured:
    """What `build_sample` will yield, without decoding; `reason` is set where the row cannot be used."""
    layout = lay_out(row, dataset, params, tokens)
    if layout.tree is None:
        return Measured(tokens=0, visual=0, inputs=0, labels=0, reason=layout.reason, kind=_kind(row))
    return Measured(
        tokens=len(layout.tree),
        visual=int(layout.tree.visual.sum()),
        inputs=layout.showing.inputs,
        labels=layout.tree.labels,
        reason=None,
        kind=layout.showing.kind,
        notes=layout.notes,
    )


def _kind(row: Row) -> str:
    return row.media[0].kind if row.media else "text"


def build_sample(row: Row, dataset: str, params: FeedParameters, tokens: TokenTable) -> Sample:
    """Decode a row's media and lay out its tokens.

    Raises UnreadableMedia for its media, DataError for a row that measuring refuses.
    """
    layout = lay_out(row, dataset, params, tokens)
    if layout.tree is None:
        raise DataError(
            what=f"row {row.id!r} of {dataset} cannot be used: {layout.reason}",
            why="such rows are dropped when the index is built, so the plan is of another index",
            fix="build the index and the plan again: `dvc repro --force`",
        )
    return Sample(tree=layout.tree, media=_decode(row, layout.showing, params), notes=layout.notes)


def load_sample(row: Row, dataset: str, params: FeedParameters, tokens: TokenTable) -> Sample:
    """`build_sample`, or the zero-weight row that keeps the place of one whose media fail to decode."""
    try:
        return build_sample(row, dataset, params, tokens)
    except UnreadableMedia as error:
        return broken_sample(measure(row, dataset, params, tokens), tokens, error.reason)


def broken_sample(measured: Measured, tokens: TokenTable, reason: str = "unreadable media") -> Sample:
    """A row of padding-like text tokens: no placeholder, no label, no weight. Its pack keeps the planned length."""
    return Sample(tree=blank_tree(measured.tokens, tokens.pad), reason=reason)


def build_prompt(row: Row, branch: int, dataset: str, params: FeedParameters, tokens: TokenTable) -> Sample:
    """Conversation `branch` of a row up to where a model answers, for evaluation. Nothing in it is a target.

    Raises UnreadableMedia for its media, DataError where the prompt cannot be written or is too long.
    """
    tree, showing = lay_out_prompt(row, branch, dataset, params, tokens)
    if tree is None:
        raise DataError(
            what=f"conversation {branch} of row {row.id!r} of {dataset} gives no prompt",
            why=f"it asks nothing, or does not fit {params.max_tokens} tokens and {params.max_inputs} inputs",
            fix="raise max_tokens and max_inputs of the evaluation, or leave the row out",
        )
    return Sample(tree=tree, media=_decode(row, showing, params))


def _decode(row: Row, showing: Showing, params: FeedParameters) -> tuple[ImageInputs | VideoInputs, ...]:
    geometry = params.geometry
    if showing.kind == "video":
        video = showing.media[0]
        return (prepare_video(video.data, video.path, showing.times, geometry, start=showing.start),)
    images = []
    for medium in showing.media:
        pixels = load_image(medium.data, medium.path)
        if pixels.shape[:2] != (medium.height, medium.width):
            raise UnreadableMedia(
                what=f"{medium.path} of row {row.id!r} is {pixels.shape[1]} x {pixels.shape[0]} pixels, "
                f"stated as {medium.width} x {medium.height}",
                why="its crops, and with them its place in the pack, were planned from the stated size",
                fix="import the dataset again; until then the row counts as one that failed to decode",
            )
        images.append(prepare_image(pixels, geometry, showing.max_crops))
    return tuple(images)
