"""The stages that compute latents once per image: of the samples, and of the pictures that are evaluated.

    trackyard run datacomp latents --shard 3/8     # shards 3, 11, 19 ... on this machine's GPUs
    trackyard run datacomp latents                 # what is missing, and the proof of all

Shards are divided among the GPUs; what a killed process has finished stays. Nothing counts before pictures came back,
channels were seen to be normalised, and images encoded again gave the same. Source: theworld spec sections 3, 8, 13.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from trackyard.digest import digest_file
from trackyard.durable import sweep
from trackyard.errors import DataError
from trackyard.imports import import_heavy
from trackyard.models.world_encoders.encoder import WorldEncoder
from trackyard.models.world_encoders.folder import CONFIG, WEIGHTS, plugin_of
from trackyard.recipes.datacomp.evaluating.items import eval_pictures, pictures_of
from trackyard.recipes.datacomp.ingest.samples import Samples
from trackyard.recipes.datacomp.latents.opening import EVAL_LATENTS, LATENTS, world_facts
from trackyard.recipes.datacomp.latents.pictures import Pictures, in_order
from trackyard.recipes.datacomp.latents.sanity import (
    MEASURED,
    RECHECKED,
    RECONSTRUCTED,
    check_again,
    check_reconstruction,
    check_statistics,
)
from trackyard.recipes.datacomp.results import write_result
from trackyard.recipes.datacomp.study import TRACK, Study
from trackyard.recipes.parts import alone, part_named
from trackyard.recipes.running.side_by_side import places, side_by_side
from trackyard.snapshot.latent_facts import EncoderFacts
from trackyard.snapshot.latent_shards import LatentManifest, Latents
from trackyard.snapshot.latent_writer import LatentShard, LatentWriter

DECODERS = 4
"""Threads that decode ahead of one encoder."""
TELL_EVERY_S = 60.0

Say = Callable[[str], None]


def latents(study: Study, item: str | None, say: Say) -> None:
    """Make `Study.latents` of the images of `Study.curated`; what is there already is not encoded again.

    item: a part "K/N", whose shards are written and nothing else. ConfigError for what is none.
    """
    samples = Samples.open(study)
    first: dict[str, int] = {}
    for index, sample in enumerate(samples):
        first.setdefault(sample.image, index)

    def read(images: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        return ((image, samples.image_bytes(first[image])) for image in images)

    pictures = Pictures(images=tuple(first), read=read)
    _Job(study, "latents", study.latents, pictures, LATENTS).run(item, say, inputs=[study.curated])


def eval_latents(study: Study, item: str | None, say: Say) -> None:
    """Make `Study.eval_latents` of the pictures of all evaluation items, or a part of them as `latents` does."""
    tables = [study.items(name) for name in study.parameters.evaluation.sets]
    images = tuple(dict.fromkeys(image for table in tables for image in pictures_of(table)))
    pictures = Pictures(images=images, read=lambda asked: in_order(eval_pictures(study), asked))
    _Job(study, "eval_latents", study.eval_latents, pictures, EVAL_LATENTS).run(item, say, inputs=tables)


@dataclass(frozen=True)
class _Job:
    """Pictures whose latents are to lie in `directory`."""

    study: Study
    stage: Literal["latents", "eval_latents"]
    directory: Path
    pictures: Pictures
    restore: str

    def run(self, item: str | None, say: Say, *, inputs: Sequence[Path]) -> None:
        started = time.monotonic()
        study, parameters = self.study, self.study.parameters
        part = part_named(item, again=f"trackyard run {TRACK} {self.stage}")
        if not self.pictures.images:
            raise DataError(
                what=f"{', '.join(map(str, inputs))}: no picture",
                why="there is nothing to encode, so nothing could be trained or evaluated",
                fix="dvc repro pipelines/datacomp/dvc.yaml",
            )
        torch.set_num_threads(parameters.engine.threads)
        facts = world_facts(study)
        # Before processes are forked, which would each import it.
        import_heavy(plugin_of(study.vae).module)
        why = "each would remove what the other makes"
        with alone(study.runs / TRACK, self.stage, part, what=str(self.directory), why=why):
            if item is None:
                sweep(self.directory)
            writer = LatentWriter(
                self.directory,
                facts,
                self.pictures.images,
                shard_images=parameters.vae.shard_images,
                restore=self.restore,
            )
            left = {shard.name for shard in writer.unfinished()}
            shards = [shard for shard in part.of_list(writer.shards) if shard.name in left]
            fresh = sum(len(writer.to_encode(shard)) for shard in shards)
            images = sum(len(shard.images) for shard in part.of_list(writer.shards))
            say(f"{self.stage:12} {images:,} images, {fresh:,} of them to encode")
            if shards:
                at = places(parameters.engine.threads)
                ranks = range(min(len(at), len(shards)))
                side_by_side(partial(self._share, writer, shards, len(ranks), say), ranks, at)
            if item is not None:
                return
            seconds = time.monotonic() - started
            manifest = writer.assemble()
            proved = self._prove(facts, manifest)
            writer.finish(manifest)
            body = _body(manifest, images_per_s=fresh / seconds if fresh else None) | proved
            header = study.header(
                self.stage,
                None,
                inputs={
                    path.relative_to(study.root).as_posix(): digest_file(path)
                    for path in (*inputs, study.vae / CONFIG, study.vae / WEIGHTS)
                },
                device=_device().type,
                wall_s=time.monotonic() - started,
                vae_digest=facts.weights,
            )
            write_result(study.document(self.stage), self.stage, header, body)
        say(
            f"{self.stage:12} {manifest.bytes / 1e6:,.1f} MB in {len(manifest.shards)} shards, "
            f"{proved['psnr']:.1f} dB, again within {proved['recheck_max_abs']:.1g}"
        )

    def _share(self, writer: LatentWriter, shards: Sequence[LatentShard], world: int, say: Say, rank: int) -> None:
        """Write every `world`-th of the shards, beginning with number `rank`."""
        torch.set_num_threads(self.study.parameters.engine.threads)
        encoder = WorldEncoder.open(self.study.vae, writer.facts, device=_device())
        self._reconstruct(encoder)
        mine, told = shards[rank::world], time.monotonic()
        for number, shard in enumerate(mine, start=1):
            writer.write(shard, partial(self._encoded, encoder))
            if time.monotonic() - told > TELL_EVERY_S:
                told = time.monotonic()
                say(f"{self.stage:12} {number:,} of {len(mine):,} shards are written (process {rank + 1} of {world})")

    def _encoded(self, encoder: WorldEncoder, images: Sequence[str]) -> Iterator[NDArray[np.float32]]:
        vae = self.study.parameters.vae
        for batch in self.pictures.batches(images, size=encoder.size, batch=vae.batch, threads=DECODERS):
            yield encoder.encode(batch)

    def _reconstruct(self, encoder: WorldEncoder) -> float:
        some = self.pictures.images[:RECONSTRUCTED]
        (pixels,) = self.pictures.batches(some, size=encoder.size, batch=len(some), threads=1)
        least = self.study.parameters.vae.least_psnr
        return check_reconstruction(encoder, encoder.decoder(), pixels, least=least)

    def _prove(self, facts: EncoderFacts, manifest: LatentManifest) -> dict[str, Any]:
        """What the result says of the latents that were written."""
        images = self.pictures.images
        found = Latents(self.directory, manifest, self.restore)
        statistics = check_statistics(found.many(images[:MEASURED]))
        encoder = WorldEncoder.open(self.study.vae, facts, device=_device())
        drawn = random.Random(facts.digest).sample(range(len(images)), min(RECHECKED, len(images)))
        again = [images[index] for index in sorted(drawn)]
        difference = check_again(found.many(again), np.concatenate(list(self._encoded(encoder, again))))
        return {
            "recheck_max_abs": difference,
            "psnr": self._reconstruct(encoder),
            "channel_mean": list(statistics.mean),
            "channel_std": list(statistics.std),
        }


def _body(manifest: LatentManifest, *, images_per_s: float | None) -> dict[str, Any]:
    """images_per_s: None where nothing was encoded."""
    return {
        "key": manifest.encoder.digest,
        "encoder": asdict(manifest.encoder),
        "images": manifest.images,
        "bytes": manifest.bytes,
        "shards": [
            {"path": shard.path, "digest": shard.blake3, "rows": shard.rows, "bytes": shard.bytes}
            for shard in manifest.shards
        ],
        "images_per_s": images_per_s,
    }


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
