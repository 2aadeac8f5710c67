"""Latents are computed once: shards, resuming, sharing, and what a changed key or list costs."""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trackyard.errors import DataError
from trackyard.snapshot.latent_facts import EncoderFacts
from trackyard.snapshot.latent_shards import Latents
from trackyard.snapshot.latent_writer import SHARD_IMAGES, LatentWriter

FACTS = EncoderFacts(
    repo="some/repo", revision="a" * 40, weights="b" * 64, config="c" * 64, preprocessing="squash/1", shape=(2, 4, 4)
)
REAL = replace(FACTS, shape=(16, 64, 64))
CHANGES = {
    "repo": "other/repo",
    "revision": "d" * 40,
    "weights": "e" * 64,
    "config": "f" * 64,
    "preprocessing": "squash/2",
    "dtype": "bfloat16",
}


def image(number: int) -> str:
    return hashlib.blake2s(str(number).encode()).hexdigest()


def latent(name: str, facts: EncoderFacts = FACTS) -> np.ndarray:
    """What an encoder of these facts gives for an image."""
    seed = int(facts.key(name)[:8], 16)
    return np.random.default_rng(seed).normal(size=facts.shape).astype(np.float32)


class Encoder:
    """Counts what it encodes, and may be killed before an image."""

    def __init__(self, facts: EncoderFacts = FACTS, dies_at: str | None = None) -> None:
        self.facts, self.dies_at, self.images = facts, dies_at, list[str]()

    def __call__(self, images: Sequence[str]) -> Iterator[np.ndarray]:
        for at in range(0, len(images), 3):
            group = images[at : at + 3]
            if self.dies_at in group:
                raise KeyboardInterrupt
            self.images += group
            yield np.stack([latent(name, self.facts) for name in group])


def write(directory: Path, images: Sequence[str], encoder: Encoder, shard_images: int = 5) -> LatentWriter:
    writer = LatentWriter(directory, encoder.facts, images, shard_images=shard_images)
    for shard in writer.unfinished():
        writer.write(shard, encoder)
    writer.finish(writer.assemble())
    return writer


def holds(directory: Path, images: Sequence[str], facts: EncoderFacts = FACTS) -> None:
    found = Latents.open(directory, facts)
    assert len(found) == len(images)
    for name in images:
        np.testing.assert_array_equal(found.find(name), latent(name, facts).astype(np.float16))


IMAGES = [image(number) for number in range(12)]


def test_sizes_of_the_real_encoder() -> None:
    assert REAL.row_bytes == 131_072
    assert REAL.row_bytes * SHARD_IMAGES == 268_435_456
    assert 100_000 * REAL.row_bytes == pytest.approx(13.11e9, rel=1e-3)


def test_a_shard_is_its_latents_and_nothing_else(tmp_path: Path) -> None:
    writer = write(tmp_path, IMAGES, Encoder())
    assert [len(shard.images) for shard in writer.shards] == [5, 5, 2]
    data = (tmp_path / writer.shards[2].data).read_bytes()
    assert data == b"".join(latent(name).astype("<f2").tobytes() for name in IMAGES[10:])
    assert len(list(tmp_path.iterdir())) == 3 * 2 + 2


def test_a_second_run_encodes_nothing_and_a_changed_key_everything(tmp_path: Path) -> None:
    first, again = Encoder(), Encoder()
    write(tmp_path, IMAGES, first)
    write(tmp_path, IMAGES, again)
    assert (first.images, again.images) == (IMAGES, [])
    for name, value in CHANGES.items():
        changed = Encoder(replace(FACTS, **{name: value}))
        write(tmp_path, IMAGES, changed)
        assert changed.images == IMAGES, name
        holds(tmp_path, IMAGES, changed.facts)
        assert len(list(tmp_path.iterdir())) == 8, "shards of the earlier encoder are gone"


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lists=st.lists(st.lists(st.integers(0, 9), unique=True), min_size=2, max_size=3), size=st.integers(2, 5))
def test_each_image_is_encoded_once_however_the_list_changes(
    tmp_path_factory: pytest.TempPathFactory, lists: list[list[int]], size: int
) -> None:
    directory = tmp_path_factory.mktemp("latents")
    kept: set[str] = set()
    for numbers in lists:
        images, encoder = [image(number) for number in numbers], Encoder()
        write(directory, images, encoder, size)
        assert encoder.images == [name for name in images if name not in kept]
        holds(directory, images)
        kept = set(images)


@pytest.mark.parametrize("number", range(len(IMAGES)))
def test_a_run_that_dies_goes_on_with_the_next_shard(tmp_path: Path, number: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, IMAGES, Encoder(dies_at=IMAGES[number]))
    assert not list(tmp_path.glob(".partial-*"))
    assert not (tmp_path / "manifest.json").exists()
    rest = Encoder()
    write(tmp_path, IMAGES, rest)
    assert rest.images == IMAGES[number // 5 * 5 :]
    holds(tmp_path, IMAGES)


def _rank(directory: Path, rank: int) -> None:
    writer = LatentWriter(directory, FACTS, IMAGES, shard_images=2)
    for shard in writer.shards[rank::2]:
        writer.write(shard, Encoder())


def test_processes_share_the_shards_without_speaking_to_each_other(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    ranks = [fork.Process(target=_rank, args=(tmp_path, rank)) for rank in range(2)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()
    writer, none = LatentWriter(tmp_path, FACTS, IMAGES, shard_images=2), Encoder()
    assert writer.unfinished() == []
    writer.finish(writer.assemble())
    write(tmp_path, IMAGES, none, 2)
    assert none.images == []
    holds(tmp_path, IMAGES)


def test_shards_that_are_lacking_are_named_before_an_index_is_made(tmp_path: Path) -> None:
    writer = LatentWriter(tmp_path, FACTS, IMAGES, shard_images=5, restore="make them")
    writer.write(writer.shards[1], Encoder())
    with pytest.raises(DataError, match="lacks 2 of 3 shards") as caught:
        writer.assemble()
    assert writer.shards[0].name in caught.value.what
    assert caught.value.fix == "make them"


def test_a_damaged_latent_is_not_copied(tmp_path: Path) -> None:
    writer = write(tmp_path, IMAGES, Encoder())
    path = tmp_path / writer.shards[0].data
    data = bytearray(path.read_bytes())
    data[70] ^= 1
    path.write_bytes(data)
    longer = LatentWriter(tmp_path, FACTS, IMAGES, shard_images=12)
    with pytest.raises(DataError, match=f"row 1, image {IMAGES[1]}, has changed bytes"):
        longer.write(longer.shards[0], Encoder())


@pytest.mark.parametrize("value", [65_520.0, -1e9, np.inf, np.nan])
def test_what_16_bits_cannot_hold_is_refused(tmp_path: Path, value: float) -> None:
    def encode(images: Sequence[str]) -> Iterator[np.ndarray]:
        yield np.full((len(images), *FACTS.shape), value, dtype=np.float32)

    writer = LatentWriter(tmp_path, FACTS, IMAGES[:1])
    with pytest.raises(DataError, match=IMAGES[0]):
        writer.write(writer.shards[0], encode)


def test_other_counts_and_shapes_are_refused(tmp_path: Path) -> None:
    writer = LatentWriter(tmp_path, FACTS, IMAGES[:3])
    for shape in ((2, *FACTS.shape), (4, *FACTS.shape), (3, 2, 4, 5)):
        with pytest.raises(ValueError, match="latents"):
            writer.write(writer.shards[0], lambda _, shape=shape: iter([np.zeros(shape, np.float32)]))
    with pytest.raises(ValueError, match="twice"):
        LatentWriter(tmp_path, FACTS, IMAGES[:1] * 2)
    assert list(tmp_path.iterdir()) == []
