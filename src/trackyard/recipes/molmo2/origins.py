"""What a stage of Molmo2 is made from, for its lineage.json: plan, data, and the model or run that it starts from."""

from __future__ import annotations

from pathlib import Path

from trackyard.recipes.molmo2.parameters import STAGES
from trackyard.recipes.molmo2.prepare import Prepared, held_out
from trackyard.recipes.molmo2.published import READ, PublishedModel
from trackyard.recipes.molmo2.start import export_directory
from trackyard.record.lineage import data
from trackyard.record.lineage.document import read_lineage
from trackyard.record.lineage.origins import Origins, Parent, StartingModel


def origins_of(prepared: Prepared) -> Origins:
    """DataError where a published model is not here whole. Its files are hashed."""
    before = STAGES.index(prepared.stage) - 1
    parent = None if before < 0 else _parent(export_directory(prepared.root, STAGES[before]))
    return Origins(
        root=prepared.root,
        spec=prepared.spec,
        plan=prepared.plan.directory,
        snapshots={name: data.rows(dataset.directory) for name, dataset in prepared.datasets.items()}
        | {held_out(name): data.rows(dataset.directory) for name, dataset in prepared.scored.items()},
        models={} if parent is not None else _models(prepared),
        parent=parent,
    )


def _parent(export: Path) -> Parent:
    made = read_lineage(export).files or {}
    return Parent(directory=export, taken=tuple(name for name in made if name.endswith(READ)))


def _models(prepared: Prepared) -> dict[str, StartingModel]:
    start = prepared.start
    if start.published:
        return {part: _published(model) for part, model in start.published.items()}
    made = StartingModel(
        id=start.facts["preset"],
        revision=None,
        licence="made here, from random weights",
        named="making",
        directory=None,
        restore=f"dvc repro {prepared.stage}",
    )
    return {"start": made}


def _published(model: PublishedModel) -> StartingModel:
    """Of the hub: it lies in the cache of whoever verifies. A folder is where it was."""
    commit = model.commit
    return StartingModel(
        id=model.source,
        revision=commit,
        licence=None,
        named="files" if commit is None else "revision",
        directory=model.folder if commit is None else None,
        restore=PublishedModel(source=model.source, revision=commit).restore,
        files=model.files,
    )
