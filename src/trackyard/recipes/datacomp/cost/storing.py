"""What the track puts on disk, where, in bytes and in files. Source: theworld spec sections 7, 8, 10 and 11."""

from __future__ import annotations

import math

from trackyard.estimate.stored import Storage, Stored, cache_of, checkpoints
from trackyard.recipes.datacomp.cost.arithmetic import STATE_BYTES, image_bytes, latent_bytes
from trackyard.recipes.datacomp.cost.bases import VAE_PARAMETERS, base_of, latent_shape
from trackyard.recipes.datacomp.cost.traffic import (
    METADATA_BYTES,
    PICTURE_BYTES,
    evaluation_pictures,
    items_of,
    rows_asked,
)
from trackyard.recipes.datacomp.parameters import DatacompParameters
from trackyard.recipes.datacomp.study import ARTIFACTS

ROW_BYTES, SCENE_BYTES = 250, 4_000
"""Of a row of addresses, captions and digests, compressed; of a picture of a scene."""
RECORD_BYTES = 400
"""Of what a result says about one item; assumed."""
MADE_BYTES = 20_000_000
"""Of both made models."""
CHECKPOINT_FILES, EXPORT_FILES, RESULT_FILES, MODEL_FILES = 8, 2, 6, 16
SHARD_FILES = 4
"""Of a shard of pictures: images, outcomes, marker, its part of the list."""


def storage(parameters: DatacompParameters, trained: int, *, at_once: int) -> Storage:
    """trained: parameters of a run. at_once: runs that are trained at the same time."""
    data, rows = parameters.data, rows_asked(parameters)
    stored, latents = round(rows * data.planned_acceptance), latent_bytes(latent_shape(parameters.vae))
    cells, made = len(parameters.trained_cells), parameters.gemma.made is not None
    pictures = evaluation_pictures(parameters)
    models = MADE_BYTES
    if not made:
        base = base_of(parameters.gemma)
        models = 2 * (base.vision + base.language) + 4 * VAE_PARAMETERS["all"]
    one = SCENE_BYTES if data.source.kind == "mini" else image_bytes(data.images.max_side)
    picture = SCENE_BYTES if parameters.evaluation.source == "made" else PICTURE_BYTES
    study = (
        _kept("metadata", METADATA_BYTES if data.source.kind == "hub" else rows * ROW_BYTES, 8),
        _kept("select", rows * ROW_BYTES, 2),
        _kept("images", stored * one, SHARD_FILES * math.ceil(rows / data.images.urls_per_shard) + 8),
        _kept("curated", stored * ROW_BYTES, 2),
        _kept("latents", data.samples * latents, math.ceil(data.samples / parameters.vae.shard_images) + 3),
        _kept("models", models, MODEL_FILES),
        _kept("eval_data", pictures * picture, 2 * len(parameters.evaluation.sets)),
        _kept("eval_latents", pictures * latents, math.ceil(pictures / parameters.vae.shard_images) + 3),
        _kept("export", cells * 4 * trained, cells * EXPORT_FILES),
        _kept(
            "results of all arms",
            len(parameters.evaluated) * sum(items_of(parameters).values()) * RECORD_BYTES,
            len(parameters.evaluated) * RESULT_FILES,
        ),
    )
    kept = checkpoints(
        runs=cells,
        at_once=at_once,
        keep=parameters.engine.keep_checkpoints,
        state=STATE_BYTES * trained,
        final=4 * trained,
        files=CHECKPOINT_FILES,
    )
    return Storage(items=(*study, cache_of(study), *kept))


def _kept(name: str, size: int, files: int) -> Stored:
    where = f"{ARTIFACTS.as_posix()}/{name}" if " " not in name else name
    return Stored(name=where, bytes=size, files=files, kept="study")
