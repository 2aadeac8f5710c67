"""What a stage of Molmo2 is made from, for its lineage.json: plan, data, and the model or run that it starts from."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import try_to_load_from_cache

from trackyard.digest import digest_file
from trackyard.errors import DataError
from trackyard.recipes.molmo2.parameters import STAGES
from trackyard.recipes.molmo2.prepare import Prepared
from trackyard.recipes.molmo2.start import export_directory
from trackyard.record.lineage import data
from trackyard.record.lineage.document import read_lineage
from trackyard.record.lineage.origins import Origins, Parent, StartingModel

READ = (".safetensors", ".json", ".jinja")
"""Endings of what is read of an export or of a published model: weights, configuration and tokenizer."""


def origins_of(prepared: Prepared) -> Origins:
    """DataError where a published model is not in the hub's cache. Its files are hashed."""
    before = STAGES.index(prepared.stage) - 1
    parent = None if before < 0 else _parent(export_directory(prepared.root, STAGES[before]))
    return Origins(
        root=prepared.root,
        spec=prepared.spec,
        plan=prepared.plan.directory,
        snapshots={name: data.rows(dataset.directory) for name, dataset in prepared.datasets.items()},
        models={} if parent is not None else _models(prepared),
        parent=parent,
    )


def _parent(export: Path) -> Parent:
    made = read_lineage(export).files or {}
    return Parent(directory=export, taken=tuple(name for name in made if name.endswith(READ)))


def _models(prepared: Prepared) -> dict[str, StartingModel]:
    start, revision = prepared.start.identity, prepared.parameters.model.revision
    if start["start"] == "random":
        made = StartingModel(
            id=start["preset"],
            revision=None,
            licence="made here, from random weights",
            named="making",
            directory=None,
            restore=f"dvc repro {prepared.stage}",
        )
        return {"start": made}
    if start["start"] == "published":
        return {"start": _published(start["model"], revision)}
    return {part: _published(start[part], None) for part in ("llm", "vision")}


def _published(source: str, revision: str | None) -> StartingModel:
    """A model of the hub by the files that lie in its cache, or one in a folder."""
    folder = Path(source) if Path(source).is_dir() else _cached(source, revision)
    files = {path.name: digest_file(path) for path in sorted(folder.iterdir()) if path.name.endswith(READ)}
    return StartingModel(
        id=source,
        revision=revision,
        licence=None,
        named="revision",
        directory=folder if Path(source).is_dir() else None,
        restore=f"hf download {source}" + (f" --revision {revision}" if revision else ""),
        files=files,
    )


def _cached(source: str, revision: str | None) -> Path:
    path = try_to_load_from_cache(source, "config.json", revision=revision)
    if not isinstance(path, str):
        raise DataError(
            what=f"{source} at {revision or 'main'} is not in the hub's cache",
            why="the lineage of the run records the digest of every file that it starts from",
            fix=f"hf download {source}" + (f" --revision {revision}" if revision else ""),
        )
    return Path(path).parent
