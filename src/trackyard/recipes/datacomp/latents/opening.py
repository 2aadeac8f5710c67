"""The latents of a study, opened for reading: of the encoder that its parameters name, or not at all.

    latents = open_latents(study)
    latents.find(image)                     # float16 [C, h, w]

Source: theworld spec section 8, reliability F28.
"""

from __future__ import annotations

from trackyard.models.world_encoders.folder import facts_of
from trackyard.recipes.datacomp.latents.pictures import PREPROCESSING
from trackyard.recipes.datacomp.study import MADE, Study
from trackyard.snapshot.latent_facts import EncoderFacts
from trackyard.snapshot.latent_shards import Latents

LATENTS, EVAL_LATENTS = "trackyard run datacomp latents", "trackyard run datacomp eval_latents"
"""Encode what is missing, and nothing else."""


def world_facts(study: Study) -> EncoderFacts:
    """Of the encoder that the study's models hold; its weights are read once."""
    vae = study.parameters.vae
    return facts_of(study.vae, repo=vae.id, revision=vae.revision or MADE, size=vae.pixels, preprocessing=PREPROCESSING)


def open_latents(study: Study) -> Latents:
    """Of the samples that are trained on. Errors as `Latents.open`."""
    return Latents.open(study.latents, world_facts(study), restore=LATENTS)


def open_eval_latents(study: Study) -> Latents:
    """Of the pictures of evaluation items. Errors as `Latents.open`."""
    return Latents.open(study.eval_latents, world_facts(study), restore=EVAL_LATENTS)
