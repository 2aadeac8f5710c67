"""The acceptance funnel adds up."""

from __future__ import annotations

from trackyard.recipes.overview.blocks import Folded, Table
from trackyard.recipes.overview.funnel import funnel_blocks

ALONE = {
    "metadata": {"rows": 500},
    "download": {"attempted": 400, "ok": 300, "acceptance": 0.75},
    "curate": {
        "attempted": 400, "kept": 200, "surplus": 50, "removed": {"eval_overlap": 7},
        "outcomes": {"ok": 250, "http_404": 100, "duplicate": 43, "eval_overlap": 7},
    },
}  # fmt: skip


def test_steps_and_causes() -> None:
    blocks = list(funnel_blocks(ALONE))
    steps = next(block.grid for block in blocks if isinstance(block, Table))
    assert [row[1] for row in steps.rows] == ["500", "400", "400", "300", "250", "200"]
    assert [row[2] for row in steps.rows] == ["-", "80.0%", "100.0%", "75.0%", "83.3%", "80.0%"]
    folded = next(block for block in blocks if isinstance(block, Folded))
    assert folded.title == "What became of 150 rows that were not accepted"
    causes = folded.blocks[0].grid.rows  # type: ignore[union-attr]
    assert [row[:2] for row in causes] == [("http_404", "100"), ("duplicate", "43"), ("eval_overlap", "7")]
