"""Samples with pictures and latents as one batch: behind each other for training, beside each other to generate.

Everything that the model puts in the place of a token is counted against the tokens here: a forgotten image or latent
raised nothing in a published system, and its world branch was never used. NumPy only.

Shapes: N rows of L tokens; I images of 3 x S x S; latents of C x h x w; M soft tokens an image; A learned tokens.
Source: theworld spec sections 5, 9 and 18.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trackyard.errors import ConfigError
from trackyard.feed.tree import NO_TARGET, PADDING_EXAMPLE
from trackyard.feed.visibility import NOT_VISUAL, Visibility
from trackyard.feed.world_prompts import WorldPrompt, runs_of

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Halves = NDArray[np.float16]


class WorldSample(NamedTuple):
    """A prompt with its pictures, float32 [i, 3, S, S] in [-1, 1], and their latents [i, C, h, w], None without."""

    prompt: WorldPrompt
    pixels: Floats
    latents: Halves | None


@dataclass(frozen=True, kw_only=True, slots=True)
class WorldBatch:
    """N rows of L tokens; the first four arrays are [N, L], places are in the flattened [N * L].

    segments: number of the sample, below 0 at padding. positions: restart with each. blocks: number of the run that
    sees itself in both directions, -1 elsewhere. image_places: [I * M]; block_places: [I * (N_w + 2)], with boundaries.
    supervised: [A], the token that predicts each of targets; weights: 1.
    """

    input_ids: Ints
    positions: Ints
    segments: Ints
    blocks: Ints
    pixel_values: Floats
    latents: Halves | None
    image_places: Ints
    block_places: Ints
    supervised: Ints
    targets: Ints
    weights: Floats

    @property
    def images(self) -> int:
        return len(self.pixel_values)

    def visibility(self) -> Visibility:
        """Each token sees what comes before it in its own sample, and all of its own block."""
        return Visibility(levels=self.segments.astype(np.int32), spans=self.blocks.astype(np.int32))


def pack(samples: Sequence[WorldSample]) -> WorldBatch:
    """One row of samples behind each other, without padding. Errors as `_require_complete`."""
    lengths = [len(sample[0].input_ids) for sample in samples]
    offsets = np.cumsum([0, *lengths[:-1]])
    return _laid_out(samples, offsets, segments=range(len(samples)), shape=(1, sum(lengths)), pad=0)


def left_padded(samples: Sequence[WorldSample], pad: int) -> WorldBatch:
    """A row for each sample, all of them ending at the last column. Errors as `_require_complete`."""
    lengths = np.array([len(sample[0].input_ids) for sample in samples])
    longest = int(lengths.max())
    offsets = np.arange(len(samples)) * longest + longest - lengths
    return _laid_out(samples, offsets, segments=[0] * len(samples), shape=(len(samples), longest), pad=pad)


def _laid_out(
    samples: Sequence[WorldSample], offsets: Ints, *, segments: Sequence[int], shape: tuple[int, int], pad: int
) -> WorldBatch:
    size = shape[0] * shape[1]
    ids, positions = np.full(size, pad, dtype=np.int64), np.zeros(size, dtype=np.int64)
    numbers, blocks = np.full(size, PADDING_EXAMPLE, dtype=np.int64), np.full(size, NOT_VISUAL, dtype=np.int64)
    image_places, block_places, supervised, targets = [], [], [], []
    seen = 0
    for (prompt, pixels, latents), offset, segment in zip(samples, offsets.tolist(), segments, strict=True):
        _require_complete(prompt, pixels, latents)
        own = slice(offset, offset + len(prompt.input_ids))
        ids[own], positions[own], numbers[own] = prompt.input_ids, np.arange(len(prompt.input_ids)), segment
        for start, stop in runs_of(prompt.token_type_ids == 1):
            blocks[offset + start : offset + stop] = seen
            seen += 1
        image_places += [np.arange(offset + start, offset + stop) for start, stop in prompt.image_spans]
        # A boundary stands on either side.
        block_places += [np.arange(offset + start - 1, offset + stop + 1) for start, stop in prompt.world_spans]
        learned = np.flatnonzero(prompt.labels != NO_TARGET)
        supervised.append(offset + learned - 1)
        targets.append(prompt.labels[learned])
    given = [latents for _, _, latents in samples]
    target_A = np.concatenate(targets)
    return WorldBatch(
        input_ids=ids.reshape(shape),
        positions=positions.reshape(shape),
        segments=numbers.reshape(shape),
        blocks=blocks.reshape(shape),
        pixel_values=np.concatenate([pixels for _, pixels, _ in samples]),
        latents=None if any(one is None for one in given) else np.concatenate(given),  # type: ignore[arg-type]
        image_places=_joined(image_places),
        block_places=_joined(block_places),
        supervised=np.concatenate(supervised),
        targets=target_A,
        weights=np.ones(len(target_A), dtype=np.float32),
    )


def _joined(places: list[Ints]) -> Ints:
    return np.concatenate(places) if places else np.zeros(0, dtype=np.int64)


def _require_complete(prompt: WorldPrompt, pixels: Any, latents: Any) -> None:
    """ConfigError unless a sample has every picture and latent that its tokens stand for, and token types for them."""
    wanted = len(prompt.image_spans)
    if pixels is None or len(pixels) != wanted:
        raise _incomplete(f"{0 if pixels is None else len(pixels)} images for a prompt about {wanted}")
    if latents is None and prompt.world_spans:
        raise _incomplete(f"no latents for {len(prompt.world_spans)} blocks of world tokens")
    if latents is not None and len(latents) != wanted:
        raise _incomplete(f"{len(latents)} latents for a prompt about {wanted} images")
    types = prompt.token_type_ids
    if types is None or len(types) != len(prompt.input_ids):
        raise _incomplete("no token_type_ids")
    if any((types[start:stop] != 1).any() for start, stop in prompt.image_spans):
        raise _incomplete("token_type_ids of 0 at an image, whose tokens would see only those before them")
    if len(prompt.labels) != len(prompt.input_ids) or (prompt.labels[: prompt.prompt_len] != NO_TARGET).any():
        raise _incomplete("labels at the prompt, or not one for each token")


def _incomplete(what: str) -> ConfigError:
    return ConfigError(
        what=f"a sample with {what}",
        why="the model would learn and answer without a part of what the sample is said to hold, silently",
        fix="make the sample with trackyard.feed.world_prompts.WorldPrompts.build, and pass all its images and latents",
    )
