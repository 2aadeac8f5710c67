"""What a run is made from, for its lineage.json: samples with their pictures, latents, base models, its parent run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trackyard.recipes.datacomp.base.loading import AGAIN, BaseFacts, base_facts
from trackyard.recipes.datacomp.ingest.blocks import AGAIN as DOWNLOAD
from trackyard.recipes.datacomp.latents.opening import LATENTS
from trackyard.recipes.datacomp.report.card import LICENCES, OURS, licence_of
from trackyard.recipes.datacomp.results import read_result
from trackyard.recipes.datacomp.study import Study
from trackyard.recipes.datacomp.training.export import CONFIG, WEIGHTS, require_export
from trackyard.recipes.datacomp.training.samples import NAME
from trackyard.record.identity import RunSpec
from trackyard.record.lineage import data
from trackyard.record.lineage.data import DataSet
from trackyard.record.lineage.document import read_lineage
from trackyard.record.lineage.origins import Origins, Parent, StartingModel


def origins_of(study: Study, spec: RunSpec, plan: Path) -> Origins:
    """DataError if a stage before it has not run. No file of a model is read."""
    origin: Mapping[str, Any] = read_result(study.document("metadata"), "metadata").body["origin"]
    source = {key: value for key, value in origin.items() if key != "licence"}
    licence = licence_of(origin)
    parent = source_run(study)
    return Origins(
        root=study.root,
        spec=spec,
        plan=plan,
        snapshots={
            NAME: _samples(study, spec.snapshots[NAME], source, licence),
            "latents": data.latents(study.latents, licence=licence, restore=LATENTS),
        },
        models=_models(study, base_facts(study)),
        parent=None if parent is None else Parent(directory=source_folder(study), taken=(CONFIG, WEIGHTS)),
    )


def source_folder(study: Study) -> Path:
    """The export that `training.init_from` names."""
    return study.root / str(study.parameters.training.init_from)


def source_run(study: Study) -> str | None:
    """The run that is gone on from; None without one. CheckpointError where its export is absent or incomplete."""
    if study.parameters.training.init_from is None:
        return None
    require_export(source_folder(study), again="correct datacomp.training.init_from in params.yaml")
    return read_lineage(source_folder(study)).run_id


def _samples(study: Study, digest: str, source: Mapping[str, Any], licence: str | None) -> DataSet:
    """The list of samples, and the shards of the pictures that it refers to, as they were downloaded."""
    shards = read_result(study.document("download"), "download").body["shards"]
    below = study.images.relative_to(study.artifacts)
    return DataSet(
        kind="samples",
        fingerprint=digest,
        directory=study.artifacts,
        files={study.curated.relative_to(study.artifacts).as_posix(): digest}
        | {(below / shard["path"]).as_posix(): shard["digest"] for shard in shards},
        source=source,
        licence=licence,
        restore=DOWNLOAD,
    )


def _models(study: Study, base: BaseFacts) -> dict[str, StartingModel]:
    """Both base models: the branch is trained into one, the latents are of the other."""
    gemma, vae = study.parameters.gemma, study.parameters.vae
    return {
        name: StartingModel(
            id=own.id,
            revision=own.revision,
            licence=LICENCES.get(own.id) if own.made is None else OURS,
            named="files",
            directory=folder,
            restore=AGAIN,
            files=files,
        )
        for name, own, folder, files in (
            ("gemma", gemma, study.gemma, base.gemma_files),
            ("vae", vae, study.vae, base.vae_files),
        )
    }
