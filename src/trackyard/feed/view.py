"""What the model is given, made visible: packs of a plan, or single rows of a snapshot, as values for a page.

Tokens, weights, mask and pixels are those of the feed itself (`load_sample`, `collate`); only points that the row
stores are added beside those that its answer teaches. Source: molmo2 spec sections 5 to 11.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from trackyard.errors import ConfigError, DataError
from trackyard.feed.batch import Pack, collate
from trackyard.feed.layout import FeedParameters, Showing, lay_out
from trackyard.feed.prompts import write_dialogue
from trackyard.feed.sample import Sample, load_sample
from trackyard.feed.tokens import TokenTable
from trackyard.feed.tree import blank_tree
from trackyard.feed.view_drawing import (
    FRAME_PIXELS,
    IMAGE_PIXELS,
    canvas_of,
    crop_frames,
    crops_of,
    mask_uri,
    picture_uri,
)
from trackyard.feed.view_parts import PackView, Picture, RowView
from trackyard.feed.view_points import Mark, marks_of, stored_points
from trackyard.feed.view_text import Block, blocks_of
from trackyard.plan.packing import Budget
from trackyard.plan.plan import Plan
from trackyard.row import Row
from trackyard.snapshot.reader import SnapshotDataset


def view_plan(
    plan: Plan,
    datasets: Mapping[str, SnapshotDataset],
    params: FeedParameters,
    tokens: TokenTable,
    *,
    step: int = 0,
    packs: int = 8,
) -> Iterator[PackView]:
    """The packs of a plan from slot 0 of `step` on, over as many steps as it takes. ConfigError beyond the plan's end.

    Rows that do not decode keep their place, as they do in training.
    """
    first, total = step * plan.packs_per_step, plan.steps * plan.packs_per_step
    if not 0 <= first < total:
        raise ConfigError(
            what=f"step {step} of a plan with {plan.steps} steps",
            why="there is no pack to show",
            fix=f"name a step from 0 to {plan.steps - 1} with --step",
        )
    for number in range(first, min(first + packs, total)):
        at, slot = divmod(number, plan.packs_per_step)
        planned = plan.pack(at, slot)
        rows = [datasets[item.dataset].row("train", item.row) for item in planned]
        samples = [
            load_sample(row, item.dataset, params, tokens) for row, item in zip(rows, planned, strict=True)
        ]  # fmt: skip
        views, start = [], 0
        for item, row, sample in zip(planned, rows, samples, strict=True):
            views.append(
                _row_view(row, sample, item.dataset, params, tokens, number=item.row, epoch=item.epoch, start=start)
            )
            start += len(sample.tree)
        pack = collate(samples, length=plan.budget.tokens, pad=tokens.pad, geometry=params.geometry)
        yield _pack_view(f"step {at} · slot {slot}", views, pack, plan.budget, alone=False)


def view_rows(
    datasets: Mapping[str, SnapshotDataset],
    params: FeedParameters,
    tokens: TokenTable,
    *,
    rows: int = 8,
    split: str = "train",
) -> Iterator[PackView]:
    """Single rows, `rows` in all: dealt out evenly to the datasets, and spread evenly over each of them.

    A row that no pack could hold is shown with the reason. ConfigError where no dataset has the split.
    """
    chosen = spread({name: dataset.rows(split) for name, dataset in datasets.items()}, rows)
    if not chosen:
        raise ConfigError(
            what=f"no row in split {split!r} of {', '.join(sorted(datasets))}",
            why="there is nothing to show",
            fix="name another split with --split; `trackyard data inspect` lists what a snapshot holds",
        )
    for name, number in chosen:
        row = datasets[name].row(split, number)
        sample = _sample_or_reason(row, name, params, tokens)
        view = _row_view(row, sample, name, params, tokens, number=number, epoch=None, start=0)
        # A row that no pack could hold has no tokens.
        pack = collate([sample], length=view.tokens, pad=tokens.pad, geometry=params.geometry)
        budget = Budget(tokens=params.max_tokens, inputs=params.max_inputs)
        yield _pack_view(f"{name} · row {number:,}", [view], pack, budget, alone=True)


def spread(sizes: Mapping[str, int], wanted: int) -> list[tuple[str, int]]:
    """(dataset, row number) of up to `wanted` rows: one more for each dataset in turn, then evenly over its rows."""
    shares = dict.fromkeys(sizes, 0)
    open_names = [name for name in sorted(sizes) if sizes[name]]
    while wanted > 0 and open_names:
        for name in open_names[:wanted]:
            shares[name] += 1
        wanted -= len(open_names)
        open_names = [name for name in open_names if shares[name] < sizes[name]]
    return [(name, k * sizes[name] // share) for name, share in sorted(shares.items()) for k in range(share)]


def _sample_or_reason(row: Row, dataset: str, params: FeedParameters, tokens: TokenTable) -> Sample:
    """The row's sample, or an empty one with the reason for which no index would admit it."""
    try:
        layout = lay_out(row, dataset, params, tokens)
        if layout.tree is None:
            return Sample(tree=blank_tree(0, tokens.pad), reason=layout.reason)
        return load_sample(row, dataset, params, tokens)
    except DataError as error:
        return Sample(tree=blank_tree(0, tokens.pad), reason=error.what)


def _pack_view(title: str, rows: Sequence[RowView], pack: Pack, budget: Budget, *, alone: bool) -> PackView:
    length = len(pack.input_ids)
    return PackView(
        title=title,
        max_tokens=budget.tokens,
        max_inputs=budget.inputs,
        length=length,
        alone=alone,
        rows=tuple(rows),
        mask=mask_uri(pack.segments, pack.examples, pack.visual_flags) if length else None,
    )


def _row_view(
    row: Row,
    sample: Sample,
    dataset: str,
    params: FeedParameters,
    tokens: TokenTable,
    *,
    number: int,
    epoch: int | None,
    start: int,
) -> RowView:
    tree = sample.tree
    blocks: list[Block] = []
    pictures: list[Picture] = []
    marks: list[Mark] = []
    labels: list[str] = []
    kind = row.media[0].kind if row.media else "text"
    if sample.reason is None:
        showing = lay_out(row, dataset, params, tokens).showing
        blocks = blocks_of(tree, tokens)
        pictures = _pictures(sample, showing, params)
        answers: dict[int, str] = {}
        for block in blocks:
            if block.branch is not None:
                answers[block.branch] = answers.get(block.branch, "") + block.answer + "\n"
        # Branches beyond the pack's length were dropped from the end.
        for (branch, answer), conversation in zip(
            answers.items(), _usable_conversations(row, dataset, showing, params), strict=False
        ):
            marks += marks_of(answer, branch, stored_points(row, conversation, showing), showing)
            labels.append(str(row.meta["label"][conversation] or "") if row.meta.get("label") else "")
    return RowView(
        dataset=dataset,
        task=row.task,
        id=row.id,
        number=number,
        epoch=epoch,
        start=start,
        tokens=len(tree),
        visual=int(tree.visual.sum()),
        inputs=sample.inputs,
        targets=tree.labels,
        loss_weight=float(tree.weights.sum(dtype="float64")),
        kind=kind,
        reason=sample.reason,
        notes={name: count for name, count in sample.notes.items() if count},
        blocks=tuple(blocks),
        pictures=tuple(pictures),
        marks=tuple(marks),
        labels=tuple(labels),
    )


def _usable_conversations(row: Row, dataset: str, showing: Showing, params: FeedParameters) -> list[int]:
    """The conversations that branches are made of, in order: the layout leaves the others out."""
    return [
        index
        for index in range(len(row.conversations))
        if write_dialogue(row, index, dataset, showing.scope, params.wording).reason is None
    ]


def _pictures(sample: Sample, showing: Showing, params: FeedParameters) -> list[Picture]:
    """Images from their high-resolution crops, or the frames of the video with their times."""
    geometry = params.geometry
    if showing.kind == "video":
        source = showing.media[0]
        frames = crops_of(sample.media[0].patches, geometry)
        return [
            Picture(
                caption=f"{float(time):.1f} s",
                uri=picture_uri(frame, FRAME_PIXELS),
                width=source.width,
                height=source.height,
            )
            for time, frame in zip(showing.times, frames, strict=True)
        ]
    return [
        Picture(
            caption=f"image {number} · {medium.width} × {medium.height} px · {tiling.rows} × {tiling.cols} crops",
            uri=picture_uri(canvas_of(inputs.patches, tiling, geometry), IMAGE_PIXELS),
            width=medium.width,
            height=medium.height,
            crops=tuple(crop_frames(tiling, geometry)),
        )
        for number, (medium, tiling, inputs) in enumerate(
            zip(showing.media, showing.tilings, sample.media, strict=True), start=1
        )
    ]
