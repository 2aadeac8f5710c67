"""The figures of the guide to the Molmo2 track, drawn by the code that they explain.

Source: molmo2 spec sections 6 (sampling), 8 (trees, the worked example) and 9 (packs), design section 1 (the plan).
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from trackyard.feed.batch import Pack, collate
from trackyard.feed.figure_drawing import Drawing
from trackyard.feed.frames import sample_times
from trackyard.feed.geometry import VisionGeometry
from trackyard.feed.layout import FeedParameters
from trackyard.feed.sample import Sample, measure
from trackyard.feed.styles import style_of
from trackyard.feed.tokens import TokenTable
from trackyard.feed.tree import Stretch, allowed, grow_tree
from trackyard.feed.view_drawing import ROW_COLOURS
from trackyard.plan.plan import ARRAYS, DOCUMENT, STEP_COLUMNS, Plan
from trackyard.snapshot.reader import SnapshotDataset

PACKS = 12
"""Packs of the figure of packing."""
_FIRST, _SECOND, _THIRD, _FOURTH = ROW_COLOURS[:4]


def worked_example() -> Pack:
    """The pack of section 8: a row of a prefix (0-3, of which 1 and 2 visual) and two branches, then a row of two."""
    style = style_of("user_qa")
    tree = grow_tree(
        [Stretch([0]), Stretch([1, 2], visual=True), Stretch([3])],
        [[Stretch([4]), Stretch([5], learned=True)], [Stretch([6]), Stretch([7], learned=True)]],
        style,
        vocab_size=10,
    )
    single = grow_tree([Stretch([8])], [[Stretch([9])]], style, vocab_size=10)
    return collate([Sample(tree=tree), Sample(tree=single)], length=10, pad=0, geometry=VisionGeometry())


def tree_figure() -> str:
    """The worked example as a tree, with positions and segments, and its attention mask."""
    pack = worked_example()
    mask = allowed(pack.segments, pack.examples, pack.visual_flags)
    drawing = Drawing(860, 350, "A message tree: prefix, two branches, positions, segments and the attention mask")
    drawing.text(20, 26, "one pack, two rows", style="head")
    places = [(20 + 56 * k, 118) for k in range(4)]
    places += [(290, 66), (346, 66), (290, 170), (346, 170), (20, 266), (76, 266)]
    colours = [_FIRST] * 4 + [_SECOND] * 2 + [_THIRD] * 2 + [_FOURTH] * 2
    drawing.line((242, 136), (264, 136), (264, 84), (288, 84), arrow=True)
    drawing.line((242, 136), (264, 136), (264, 188), (288, 188), arrow=True)
    for token, ((x, y), colour) in enumerate(zip(places, colours, strict=True)):
        drawing.rect(x, y, 50, 36, fill=colour, opacity=1.0 if pack.visual_flags[token] else 0.78)
        drawing.text(x + 25, y + 23, str(token), style="on", anchor="middle")
        drawing.text(x + 25, y + 51, f"pos {pack.positions[token]}", style="small faint", anchor="middle")
        drawing.text(x + 25, y + 65, str(pack.segments[token]), style="small faint", anchor="middle")
    for x, y, words in (
        (20, 108, "prefix (1, 2: visual)"),
        (290, 56, "branch 0"),
        (290, 160, "branch 1"),
        (20, 256, "next row: one conversation"),
    ):
        drawing.text(x, y, words, style="small")
    drawing.text(150, 290, "under each token: its position, and its segment number", style="small faint")
    side, left, top = 24, 560, 66
    drawing.text(left - 42, 26, f"who attends whom: {int(mask.sum())} of {mask.size} pairs", style="head")
    for key in range(10):
        drawing.text(left + side * (key + 0.5), top - 8, str(key), style="small faint", anchor="middle")
        drawing.text(left - 10, top + side * (key + 0.5) + 4, str(key), style="small faint", anchor="end")
        for query in range(10):
            here = bool(mask[query, key])
            place = (left + side * key, top + side * query, side - 2, side - 2)
            drawing.rect(*place, fill=colours[query] if here else "", opacity=0.85, style="" if here else "none")
    drawing.text(left, top + side * 10 + 20, "rows: queries; columns: keys", style="small faint")
    drawing.text(
        left, top + side * 10 + 36, "above the diagonal: visual token 1 also sees visual 2", style="small faint"
    )
    return drawing.svg()


def packing_figure(
    plan: Plan, datasets: Mapping[str, SnapshotDataset], params: FeedParameters, tokens: TokenTable
) -> str:
    """The first packs of a plan: each row's share of both budgets."""
    budget, top, pitch = plan.budget, 84, 30
    drawing = Drawing(860, top + pitch * PACKS + 54, f"The first {PACKS} packs of a plan, by row and by both budgets")
    drawing.text(20, 26, f"{PACKS} packs: every row's share of both budgets", style="head")
    drawing.text(20, 46, "thick: tokens; thin: visual inputs (crops and frames); empty: padding", style="small faint")
    drawing.text(100, 74, f"{budget.tokens:,} tokens, {budget.inputs:,} visual inputs per pack", style="small faint")
    left, width, used = 100, 620, 0
    for number in range(PACKS):
        step, slot = divmod(number, plan.packs_per_step)
        y = top + pitch * number
        drawing.text(left - 10, y + 13, f"step {step}, {slot}", style="small faint", anchor="end")
        drawing.rect(left, y, width, 15, style="none")
        drawing.rect(left, y + 17, width, 5, style="none")
        held = [0, 0]
        for place, planned in enumerate(plan.pack(step, slot)):
            row = datasets[planned.dataset].row("train", planned.row)
            found = measure(row, planned.dataset, params, tokens)
            share = (found.tokens / budget.tokens * width, found.inputs / budget.inputs * width)
            for kind, (down, height, total) in enumerate(((0, 15, budget.tokens), (17, 5, budget.inputs))):
                if share[kind]:
                    start = left + held[kind] / total * width
                    drawing.rect(start, y + down, max(share[kind] - 1.5, 0.5), height, fill=ROW_COLOURS[place])
            if share[0] > 7 * len(planned.dataset):
                start = left + held[0] / budget.tokens * width
                drawing.text(start + 5, y + 11.5, planned.dataset, style="small on")
            held[0] += found.tokens
            held[1] += found.inputs
        used += held[0]
        words = f"{held[0]:,} · {held[1]:,}"
        drawing.text(left + width + 14, y + 13, words, style="small faint")
    y = top + pitch * PACKS + 16
    filled = used / (PACKS * budget.tokens)
    drawing.text(left, y, f"together {used:,} tokens: {filled:.1%} full, {1 - filled:.1%} padding", style="small")
    return drawing.svg()


def plan_figure() -> str:
    """From what exists to a step: what a plan is made of, what it holds, and who reads it."""
    drawing = Drawing(860, 348, "From the catalogue to a training step: what a plan is made of and what it holds")
    drawing.text(20, 26, "before any accelerator is asked for", style="head")
    stations = (
        ("catalogue", ("what exists,", "on what terms")),
        ("snapshot", ("immutable shards,", "every file hashed")),
        ("index", ("length of each row", "in tokens and inputs")),
        ("mixture", ("how often each", "dataset is drawn")),
        ("plan", ("the rows of every", "pack of every step")),
    )
    for number, (name, lines) in enumerate(stations):
        x = 20 + 168 * number
        last = number == len(stations) - 1
        drawing.rect(x, 44, 144, 74, fill=_FIRST if last else "", style="" if last else "box")
        style = "on" if last else ""
        drawing.text(x + 72, 67, name, style=style, anchor="middle")
        for k, words in enumerate(lines):
            drawing.text(x + 72, 87 + 16 * k, words, style=f"small {style or 'faint'}", anchor="middle")
        if not last:
            drawing.line((x + 147, 81), (x + 165, 81), arrow=True)
    drawing.line((764, 120), (764, 142), (230, 142), (230, 160), arrow=True)
    drawing.text(20, 180, "what a plan holds", style="head")
    drawing.text(20, 203, f"{DOCUMENT}: fingerprint, inputs, mixture, totals", style="small")
    columns = [name.replace("_", " ") for name in STEP_COLUMNS]
    for k, name in enumerate(ARRAYS):
        drawing.text(20, 223 + 18 * k, name, style="small")
    drawing.text(20, 227 + 18 * len(ARRAYS), f"per step: {', '.join(columns[:3])},", style="small faint")
    drawing.text(20, 243 + 18 * len(ARRAYS), ", ".join(columns[3:]), style="small faint")
    drawing.text(340, 180, "who reads it: pack (step, slot), by its place alone", style="head")
    ranks = (_SECOND, _THIRD)
    for step in range(3):
        y = 198 + 32 * step
        drawing.text(340, y + 17, f"step {step}", style="small faint")
        for slot in range(4):
            x = 392 + 88 * slot
            drawing.rect(x, y, 82, 25, fill=ranks[slot % 2], opacity=0.9)
            drawing.text(x + 41, y + 17, f"slot {slot}", style="small on", anchor="middle")
    for rank, colour in enumerate(ranks):
        drawing.rect(392 + 180 * rank, 300, 12, 12, fill=colour)
        drawing.text(410 + 180 * rank, 310, f"rank {rank} of 2: slots {rank}, {rank + 2}", style="small")
    drawing.text(392, 334, "one rank reads all four; a resume begins at its step", style="small faint")
    return drawing.svg()


def frames_figure() -> str:
    """Uniform sampling with the last frame kept, on three clips."""
    drawing = Drawing(860, 330, "Which frames of a clip are shown: uniform times, the last frame kept")
    drawing.text(20, 26, "which frames of a clip are shown: uniform, the last one kept", style="head")
    left, scale = 158, 62
    clips = (
        ("short enough", "10 s, F = 128, S = 2", Fraction(10), 100, 128),
        ("too long for F", "10.2 s, F = 8, S = 2", Fraction(51, 5), 102, 8),
        ("slow source", "10 s at 1 fps, S = 2", Fraction(10), 10, 128),
        ("one frame", "d = 0.04 s", Fraction(1, 25), 1, 128),
    )
    for number, (name, words, duration, frames, most) in enumerate(clips):
        y = 74 + 64 * number
        source = frames / duration
        times = sample_times(duration, frames, source, most, Fraction(2))
        drawing.text(20, y, name)
        drawing.text(20, y + 17, words, style="small faint")
        drawing.line((left, y), (left + float(duration) * scale, y))
        for k in range(frames):
            # The frame that is shown at a time: the last one presented at or before it.
            x = left + float(k / source) * scale
            drawing.line((x, y - 4), (x, y + 4))
        shown = sorted({min(int(time * source), frames - 1) for time in times})
        for k in shown:
            x = left + float(k / source) * scale
            drawing.line((x, y - 9), (x, y + 9), colour=_SECOND)
        for time in times:
            drawing.dot(left + float(time) * scale, y, 4, _FIRST)
        said = [f"{float(time):.1f}" for time in times]
        if len(said) > 8:
            said = [*said[:4], "…", *said[-2:]]
        many = f"{len(times)} time{'' if len(times) == 1 else 's'}: {' '.join(said)}"
        drawing.text(left, y + 27, many, style="small faint")
    y = 318
    drawing.dot(left + 4, y - 4, 4, _FIRST)
    drawing.text(left + 14, y, "time that is asked for and printed", style="small faint")
    drawing.line((left + 215, y - 10), (left + 215, y + 2), colour=_SECOND)
    drawing.text(left + 225, y, "frame that is shown: the last one at or before it", style="small faint")
    drawing.line((left + 500, y - 8), (left + 500, y))
    drawing.text(left + 510, y, "other frames of the source", style="small faint")
    return drawing.svg()


def figures(
    plan: Plan, datasets: Mapping[str, SnapshotDataset], params: FeedParameters, tokens: TokenTable
) -> dict[str, str]:
    """Every figure by its file name. The arguments are those of the stage whose packing is drawn."""
    return {
        "message-tree.svg": tree_figure(),
        "packing.svg": packing_figure(plan, datasets, params, tokens),
        "plan.svg": plan_figure(),
        "frames.svg": frames_figure(),
    }
