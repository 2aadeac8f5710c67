"""What models were made from, of those that say it; what is not known comes first, and is never merged away."""

from __future__ import annotations

from pathlib import Path

from trackyard.recipes.overview.blocks import Block, Caveat, Command, Folded, Section, Table
from trackyard.recipes.overview.lineages import licences_of, lineage_section
from trackyard.recipes.overview.track import Model
from trackyard.record.lineage.licences import UNKNOWN
from trackyard.record.lineage.links import Link


def model(root: Path, name: str) -> Model:
    return Model(name=name, directory=root / name, drawn=True)


def commands(section: Section) -> list[tuple[str, ...]]:
    return [block.lines for block in section.blocks if isinstance(block, Command)]


def test_a_model_without_a_lineage_is_named_and_no_command_is_empty(tmp_path: Path) -> None:
    section = lineage_section([model(tmp_path, "bare")], [tmp_path / "results" / "metrics.json"], tmp_path)
    told = next(block.words for block in section.blocks if isinstance(block, Caveat))
    assert told.startswith("No lineage.json lies beside bare: nothing here says")
    assert commands(section) == [("trackyard lineage verify results/metrics.json",)]


def test_unknown_licences_come_first_and_two_of_one_name_stay_two() -> None:
    def chain(licence: str) -> Link:
        return Link(kind="model", name="model start", fix="", facts={"id": "a", "licence": licence})

    rows = licences_of([chain("MIT"), chain("CC0-1.0"), chain(""), chain("MIT")])
    assert [row.licence for row in rows] == [UNKNOWN, "MIT", "CC0-1.0"]


def test_licences_of_drawn_models(made: Path) -> None:
    section = lineage_section([model(made / "artifacts" / "molmo2" / "stage3", "export")], [], made)

    def tables(blocks: tuple[Block, ...]) -> list[str]:
        inner = [title for block in blocks if isinstance(block, Folded) for title in tables(block.blocks)]
        return [block.grid.title for block in blocks if isinstance(block, Table)] + inner

    assert any(title.startswith("what the drawn models were trained on") for title in tables(section.blocks))
