"""What runs and exports of the study are made from, for their lineage.json.

A made model is pretrained in a run of its own, which is the parent of every arm. A published one is no run's: its files
at their commit are recorded, and the export that is saved from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trackyard.models.nonneg_export import EXACT
from trackyard.recipes.pile_ffn.arms.original import AGAIN, CELL
from trackyard.recipes.pile_ffn.arms.original import STAGE as UNTOUCHED_STAGE
from trackyard.recipes.pile_ffn.cells import Cell
from trackyard.recipes.pile_ffn.measures.exports import export_inputs
from trackyard.recipes.pile_ffn.study import TRACK, Study
from trackyard.recipes.pile_ffn.text.source_manifest import AGAIN as FETCH
from trackyard.recipes.pile_ffn.text.source_manifest import MODEL, SourceManifest
from trackyard.recipes.pile_ffn.text.token_sets import AGAIN as TOKENIZE
from trackyard.record.identity import RunSpec
from trackyard.record.image import image_digest
from trackyard.record.lineage import data
from trackyard.record.lineage.document import read_lineage
from trackyard.record.lineage.origins import NO_PLAN, Origins, Parent, StartingModel

MADE_LICENCE = "made here, from random weights"
START, PUBLISHED = "start", "published"


def spec_of(
    study: Study,
    *,
    stage: str,
    parameters: Mapping[str, Any],
    plan: str = NO_PLAN,
    model: Mapping[str, Any],
    snapshots: Mapping[str, str],
    parent: str | None,
    seed: int,
) -> RunSpec:
    """The specification of a run, or of an export that no training made."""
    return RunSpec(
        track=TRACK,
        stage=stage,
        parameters=parameters,
        plan=plan,
        model=model,
        snapshots=snapshots,
        parent=parent,
        code=study.code,
        image=image_digest(),
        seed=seed,
    )


def origins_of(
    study: Study, spec: RunSpec, *, plan: Path | None, models: Mapping[str, StartingModel], parent: Cell | None
) -> Origins:
    """All links of a run or export. The data sets are those that the specification names."""
    return Origins(
        root=study.root,
        spec=spec,
        plan=plan,
        snapshots={name: data.tokens(study.tokens / name, restore=TOKENIZE) for name in spec.snapshots},
        models=models,
        parent=None if parent is None else _taken(study, parent),
    )


def parent_run(study: Study, cell: Cell) -> str:
    """The run that made an export. DataError where its lineage.json is absent or damaged."""
    return read_lineage(study.export(cell)).run_id


def start_facts(study: Study) -> tuple[dict[str, Any], dict[str, StartingModel], Cell | None]:
    """Of what every arm starts with: how a specification names it, its models, and the parent, if that is a run's."""
    start: dict[str, Any] = {START: export_inputs(study, CELL)}
    if study.parameters.model.made is not None:
        return start, {}, CELL
    published = published_model(study)
    own = study.export(CELL).relative_to(study.root).as_posix()
    saved = StartingModel(
        id=published.id,
        revision=published.revision,
        licence=published.licence,
        named="files",
        directory=study.export(CELL),
        restore=AGAIN,
        files={name.removeprefix(f"{own}/"): digest for name, digest in start[START].items()},
    )
    return start | {PUBLISHED: published_facts(published)}, {START: saved, PUBLISHED: published}, None


def published_model(study: Study) -> StartingModel:
    """The study's published model, as it was fetched."""
    model = study.parameters.model
    return StartingModel(
        id=model.id,
        revision=model.revision,
        licence=None,
        named="files",
        directory=study.source,
        restore=FETCH,
        files={file.path: file.blake3 for file in SourceManifest.read(study.source).of_role(MODEL)},
    )


def published_origins(study: Study) -> Origins:
    """Of the untouched export of a published model, which is saved anew and not trained."""
    published = published_model(study)
    facts = {PUBLISHED: published_facts(published)}
    spec = spec_of(
        study, stage=UNTOUCHED_STAGE, parameters={}, model=facts, snapshots={}, parent=None, seed=0
    )  # fmt: skip
    return origins_of(study, spec, plan=None, models={PUBLISHED: published}, parent=None)


def published_facts(model: StartingModel) -> dict[str, Any]:
    """How a specification names a published model."""
    return {"id": model.id, "revision": model.revision, "files": dict(model.files)}


def made_from_seed(study: Study) -> dict[str, StartingModel]:
    """A made model before it is pretrained."""
    made = StartingModel(
        id=study.parameters.model.id,
        revision=None,
        licence=MADE_LICENCE,
        named="making",
        directory=None,
        restore=AGAIN,
    )
    return {START: made}


def _taken(study: Study, cell: Cell) -> Parent:
    """What is read of an export as a start: the exact weights, and what lies beside them."""
    made = read_lineage(study.export(cell)).files or {}
    return Parent(directory=study.export(cell), taken=tuple(name for name in made if name.startswith(f"{EXACT}/")))
