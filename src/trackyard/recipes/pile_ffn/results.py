"""Result files of a study, and what the aggregation refuses to put into one table. Source: pile-ffn spec section 10.

A file carries what it was made from and a digest of itself, so that a later edit, a copy under another name, or a
file of an earlier specification is refused, and not averaged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from trackyard.errors import DataError
from trackyard.recipes.pile_ffn.cells import Cell
from trackyard.recipes.stage_results import StageResult, read_stage_result, write_stage_result

DOCUMENT = "result.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    id: str
    revision: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Data:
    """slice_digest: of the training text, None for an arm that was not trained."""

    id: str
    revision: str
    slice_digest: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """What every result file begins with. inputs: digest of each file that was read, by path. wall_s: seconds."""

    run_id: str
    spec_digest: str
    git_commit: str
    image_digest: str
    libs: Mapping[str, str]
    model: Model
    arm: str
    variant: str | None
    seed: int | None
    data: Data
    inputs: Mapping[str, str]
    precision: Mapping[str, str]
    device: str
    wall_s: float
    globally_monotonic: Literal[False] = False
    """Non-negative weights do not make these models monotone (section 1)."""


Result = StageResult[Header]
_HEADER = TypeAdapter(Header)


def write_result(path: Path, stage: str, header: Header, body: Mapping[str, Any]) -> None:
    """Write a result with keys in order. ValueError for NaN and infinities, which are no results."""
    write_stage_result(path, _schema(stage), header, body)


def read_result(path: Path, stage: str) -> Result:
    """DataError if the file is absent, of another stage, incomplete, or not what was written."""
    return read_stage_result(path, _schema(stage), _HEADER, fix=_again(stage, path))


def admitted(
    directory: Path, stage: str, cells: Mapping[str, Cell], *, alike: tuple[str, ...] = ()
) -> dict[str, Result]:
    """The results of one stage for every declared cell, from <directory>/<arm>/<seed>/result.json.

    alike: keys of the body that all arms of a seed share, as the tokens they were trained on. DataError for missing
    cells and directories that are no cell; for altered files, a file of another cell, mixed specifications, arms of a
    seed on other text or with other inputs, and seeds that share their text.
    """
    found, declared = _folders(directory), {cell.path for cell in cells.values()}
    for what, names, fix in (
        ("lacks", sorted(declared - found), "run the stage for them: dvc repro pipelines/pile_ffn/dvc.yaml"),
        ("holds, beside the declared cells,", sorted(found - declared), "remove those directories"),
    ):
        if names:
            raise DataError(
                what=f"{directory} {what} {', '.join(names)}",
                why="the table is over the cells that params.yaml declares, all of them and no other",
                fix=fix,
            )
    results = {name: read_result(directory / cells[name].path / DOCUMENT, stage) for name in sorted(cells)}
    for name, cell in cells.items():
        header = results[name].header
        if (header.arm, header.seed) != (cell.arm, cell.seed):
            path = directory / cell.path / DOCUMENT
            raise DataError(
                what=f"{path} is of arm {header.arm!r} and seed {header.seed}",
                why=f"the cell is arm {cell.arm!r} and seed {cell.seed}: a result was copied",
                fix=_again(stage, path),
            )
    _refuse_mixtures(results, alike)
    return results


def _folders(directory: Path) -> set[str]:
    """Of arms without seeds, and of every seed of the others."""
    found = set()
    for path in directory.iterdir() if directory.is_dir() else ():
        inner = [one for one in path.iterdir() if one.is_dir()] if path.is_dir() else []
        found |= {f"{path.name}/{one.name}" for one in inner} or ({path.name} if path.is_dir() else set())
    return found


def _refuse_mixtures(results: Mapping[str, Result], alike: tuple[str, ...]) -> None:
    """A fact and where it must be the same: the first result that states it is what others are compared with."""
    facts: dict[tuple[str, ...], tuple[str, Any]] = {}
    for name, result in results.items():
        header, seed = result.header, f"seed {result.header.seed}"
        stated: dict[tuple[str, ...], Any] = {("spec_digest", "the study"): header.spec_digest}
        stated |= {("digest of the input", path): digest for path, digest in header.inputs.items()}
        if header.data.slice_digest is not None:
            stated["slice_digest", seed] = header.data.slice_digest
            stated["seed of the slice", header.data.slice_digest] = header.seed
            stated |= {(key, seed): result.body[key] for key in alike}
        for fact, value in stated.items():
            first, expected = facts.setdefault(fact, (name, value))
            if value != expected:
                raise DataError(
                    what=f"{' of '.join(fact)} is {expected!r} in {first} and {value!r} in {name}",
                    why="their difference would be that of the text or of the specification, not of the arms",
                    fix=f"run the older of the two again: dvc repro pipelines/pile_ffn/dvc.yaml (for {name})",
                )


def _schema(stage: str) -> str:
    return f"trackyard-pile-ffn-{stage}/1"


def _again(stage: str, path: Path) -> str:
    return f"make {path} again, the result of {stage}: dvc repro -f pipelines/pile_ffn/dvc.yaml"
