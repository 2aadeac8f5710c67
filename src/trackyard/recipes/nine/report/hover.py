"""What a page says of a point: its whole configuration, and everything that lies on the same place."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from trackyard.evaluate.frontier import Frontier
from trackyard.evaluate.latency.statistics import Part
from trackyard.recipes.nine.report.measured import Measurement, TaskFacts

TIMES: tuple[Part, ...] = ("total", "prefill", "decode", "vision", "step")
IN_LINE = 12
"""Block indices on one line."""


def hover(task: TaskFacts, results: Mapping[str, Measurement], frontier: Frontier) -> dict[str, str]:
    """By key. Configurations on exactly one place are told together, since only one of them can be pointed at."""
    told: dict[tuple[float, float], list[str]] = {}
    for point in frontier.points:
        told.setdefault((point.x, point.y), []).append(_told(task, results[point.key], on=point.on_frontier))
    return {point.key: "<br>──────<br>".join(told[point.x, point.y]) for point in frontier.points}


def _told(task: TaskFacts, result: Measurement, *, on: bool) -> str:
    value, visual = result.metric[task.metric], result.realised_visual
    lines = [
        f"<b>{escape(result.words)}</b>{' · on the frontier' if on else ''}",
        f"key {result.name}",
        f"{escape(task.metric)} {value.value:.4f} [{value.lo:.4f}, {value.hi:.4f}]",
        *(
            f"{part}, ms: P50 {times.p50:.1f}, P95 {times.p95:.1f}, P99 {times.p99:.1f}"
            for part in TIMES
            if (times := result.times.parts.get(part)) is not None
        ),
        f"visual tokens: mean {visual.mean:,.0f}, P50 {visual.P50:,.0f}, P95 {visual.P95:,.0f}",
        f"answers: {result.n_out:.1f} tokens, {result.cap_rate:.2%} at the cap, {result.unparsed_rate:.2%} unparsed",
        f"{result.tally.ok:,} of {result.tally.expected:,} questions, {result.times.counted:,} timed",
    ]
    blocks = result.configuration.blocks
    if blocks is not None:
        rows = [blocks[at : at + IN_LINE] for at in range(0, len(blocks), IN_LINE)]
        lines.append("blocks " + "<br>".join(" ".join(map(str, row)) for row in rows))
    return "<br>".join(lines)
