"""The two published models: pinned, their files there, their weights counted by the headers alone, the chat template.

Source: theworld spec sections 2, 5 and 9.
"""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from trackyard.acquire.hub.fetch import read_record
from trackyard.catalog.entries import UNPINNED, HubSource
from trackyard.errors import ConfigError, DataError
from trackyard.launch.preflight import Seen, Skipped
from trackyard.models.theworld.parameters import inserted_tokens
from trackyard.recipes.checking.hub import HubChecks
from trackyard.recipes.datacomp.base.models import COUNTS, GEMMA_FILES, VAE_FILES
from trackyard.recipes.datacomp.cost.bases import base_of, latent_shape
from trackyard.recipes.datacomp.parameters import DatacompParameters

Mode = Literal["quick", "default", "full"]
MODES: tuple[Mode, ...] = ("quick", "default", "full")
ENCODERS = ("AutoencoderKLWan", "AutoencoderKLCosmos")
"""Classes that are encoded with; the generic one cannot load these weights."""
_LENGTH = 8
"""Bytes of a safetensors file that say how long its header is."""


@dataclass(frozen=True, kw_only=True)
class Asked(HubChecks):
    """What is checked, how far, and where. mode: quick asks for lists of files; default fetches configurations and the
    tokenizer too, full the weights."""

    parameters: DatacompParameters
    mode: Mode

    def reaches(self, mode: Mode) -> bool:
        """Whether the chosen mode includes `mode`."""
        return MODES.index(self.mode) >= MODES.index(mode)

    @cached_property
    def gemma(self) -> HubSource:
        gemma = self.parameters.gemma
        return HubSource(repo=gemma.id, revision=gemma.revision or UNPINNED, gated=True)

    @cached_property
    def vae(self) -> HubSource:
        vae = self.parameters.vae
        return HubSource(repo=vae.id, revision=vae.revision or UNPINNED, gated=True)

    def pinned(self, source: HubSource, kind: Literal["dataset", "model"], where: str) -> tuple[Seen, int]:
        """The list of a repository's files and how many they are. ConfigError with the commit of now if none is stated.

        where: the setting that states it.
        """
        listing = self.listing(source, kind)
        if not listing.pinned:
            raise ConfigError(
                what=f"{listing.repo} is not pinned; its main is at {listing.commit} now",
                why="what main holds changes, and results would be of other bytes without a word",
                fix=f"set {where} to {listing.commit}, or to the commit that is meant",
            )
        files = len(listing.files)
        return Seen(detail=f"{listing.repo} at {listing.commit[:12]}, {files} files", examined=files), files

    def model(self, source: HubSource, where: str, small: tuple[str, ...], weights: str) -> Seen:
        """Its list of files; then the small ones; then the weights, counted. small, weights: patterns."""
        small_only = not self.reaches("full")
        wanted = small if small_only else (*small, weights)
        if self.offline:
            seen = self.cached(source, "model", wanted)
            counted = "" if small_only else f"; {self._counted(source, wanted)}"
            return Seen(detail=seen.detail + counted, examined=seen.examined)
        seen, files = self.pinned(source, "model", where)
        if not self.reaches("default"):
            return seen
        fetched = self.fetch(source, "model", wanted)
        counted = "" if small_only else f"; {self._counted(source, wanted)}"
        return Seen(detail=seen.detail + counted, examined=files, fetched=fetched)

    def folder(self, source: HubSource, files: tuple[str, ...]) -> Path:
        """Of the proved copy; DataError if it was never completed."""
        return read_record(source.model_copy(update={"files": files}), self.places.hub, kind="model").directory

    def _counted(self, source: HubSource, files: tuple[str, ...]) -> str:
        """Parameters by the headers of the cached weights, against those that the specification counts."""
        record = read_record(source.model_copy(update={"files": files}), self.places.hub, kind="model")
        weights = [file.path for file in record.contents if file.path.endswith(".safetensors")]
        found = parameters_of(record.directory / name for name in weights)
        known = COUNTS.get(source.repo)
        expected = None if known is None else sum(known.values())
        if expected is not None and found != expected:
            raise DataError(
                what=f"{source.repo} holds {found:,} parameters, {expected:,} expected",
                why="it is not the model that the specification counts",
                fix="correct the revision in the parameter file",
            )
        return f"{found:,} parameters" + (" as specified" if expected is not None else ", of which no count is known")


def language_model(asked: Asked) -> Seen:
    small = tuple(name for name in GEMMA_FILES if name.endswith(".json"))
    weights = next(name for name in GEMMA_FILES if name.endswith(".safetensors"))
    return asked.model(asked.gemma, "datacomp.gemma.revision", small, weights)


def image_vae(asked: Asked) -> Seen:
    """Of its repository nothing but the VAE is ever asked for."""
    config, weights = (f"{asked.parameters.vae.subfolder}/{name}" for name in VAE_FILES)
    seen = asked.model(asked.vae, "datacomp.vae.revision", (config,), weights)
    if not (asked.reaches("default") or asked.offline):
        return seen
    found = json.loads((asked.folder(asked.vae, (config,)) / config).read_bytes())
    name = found.get("_class_name")
    lacking = [key for key in ("latents_mean", "latents_std") if not found.get(key)]
    if name not in ENCODERS or lacking:
        raise DataError(
            what=f"{config} of {asked.vae.repo}: class {name!r}, lacking {', '.join(lacking) or 'nothing'}",
            why=f"latents are those of {' or '.join(ENCODERS)}, normalised with its own statistics",
            fix="correct datacomp.vae.id, subfolder or revision in the parameter file",
        )
    return Seen(detail=f"{seen.detail}; {name}", examined=seen.examined, fetched=seen.fetched)


def template(asked: Asked) -> Seen:
    """A question and an answer through the tokenizer: image and world tokens in their places, ids within the table."""
    if not (asked.reaches("default") or asked.offline):
        raise Skipped("default and full fetch the tokenizer")
    small = tuple(name for name in GEMMA_FILES if name.endswith(".json"))
    folder = asked.folder(asked.gemma, small)
    from transformers import AutoTokenizer

    from trackyard.feed.world_prompts import WorldPrompts

    tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    parameters = asked.parameters
    base, world = base_of(parameters.gemma), parameters.world
    prompts = WorldPrompts(
        tokenizer,
        image_tokens=base.soft_tokens,
        world_tokens=inserted_tokens(world, latent_shape(parameters.vae)),
        placement=world.placement,
        block=world.block,
        max_length=world.max_length,
    )
    if prompts.layout.rows > base.shape.vocab:
        raise DataError(
            what=f"placeholders need {prompts.layout.rows:,} rows, the table has {base.shape.vocab:,}",
            why="ids beyond the table have no embedding that could be replaced",
            fix="correct datacomp.gemma.id or revision in the parameter file",
        )
    learned = prompts.build(parameters.training.question, answer="A red ball.")
    supervised = int((learned.labels >= 0).sum())
    return Seen(
        detail=f"{len(tokenizer):,} entries, {len(learned.input_ids)} tokens, {supervised} of them learned",
        examined=len(learned.input_ids),
    )


def parameters_of(files: Iterable[Path]) -> int:
    """Elements of all tensors of safetensors files, by their headers; one that is stored twice counts once."""
    found: Counter[str] = Counter()
    for path in files:
        with open(path, "rb") as handle:
            (length,) = struct.unpack("<Q", handle.read(_LENGTH))
            header = json.loads(handle.read(length))
        found |= Counter({name: math.prod(facts["shape"]) for name, facts in header.items() if name != "__metadata__"})
    return found.total()
