"""Reading latents: every one is that of its image and of the wanted encoder, or an error says which is not."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trackyard.digest import digest_bytes
from trackyard.errors import DataError, IdentityError
from trackyard.snapshot.latent_facts import EncoderFacts
from trackyard.snapshot.latent_shards import Latents, row_digest
from trackyard.snapshot.latent_writer import LatentWriter

FACTS = EncoderFacts(
    repo="some/repo", revision="a" * 40, weights="b" * 64, config="c" * 64, preprocessing="squash/1", shape=(2, 4, 4)
)
IMAGES = [digest_bytes(b"%d" % number) for number in range(12)]
STRANGE = [digest_bytes(b"%d" % number) for number in range(12, 32)]
VALUES = np.random.default_rng(0).normal(size=(12, 2, 4, 4)).astype(np.float32)
RESTORE = "make them again"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    def encode(images: Sequence[str]) -> Iterator[np.ndarray]:
        yield VALUES[[IMAGES.index(image) for image in images]]

    writer = LatentWriter(tmp_path, FACTS, IMAGES, shard_images=5)
    for shard in writer.unfinished():
        writer.write(shard, encode)
    writer.finish(writer.assemble())
    return tmp_path


def _open(directory: Path) -> Latents:
    return Latents.open(directory, FACTS, restore=RESTORE)


def _shards(directory: Path) -> list[Path]:
    return [directory / shard.path for shard in _open(directory).manifest.shards]


def test_latents_are_found_by_image_alone_and_together_in_any_order(directory: Path) -> None:
    found = _open(directory)
    order = [7, 0, 11, 7]
    np.testing.assert_array_equal(found.many([IMAGES[number] for number in order]), VALUES[order].astype(np.float16))
    one = found.find(IMAGES[3])
    assert one.dtype == np.float16
    assert one.shape == (2, 4, 4)
    assert not one.flags.writeable
    assert len(found) == 12
    assert IMAGES[5] in found
    assert STRANGE[0] not in found
    assert found.many([]).shape == (0, 2, 4, 4)


def test_other_processes_and_threads_read_the_same(directory: Path) -> None:
    found = pickle.loads(pickle.dumps(_open(directory)))
    with ThreadPoolExecutor(4) as pool:
        for image, latent in zip(IMAGES * 20, pool.map(found.find, IMAGES * 20), strict=True):
            np.testing.assert_array_equal(latent, VALUES[IMAGES.index(image)].astype(np.float16))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("repo", "other/repo"),
        ("revision", "0" * 40),
        ("weights", "0" * 64),
        ("config", "0" * 64),
        ("preprocessing", "squash/2"),
        ("dtype", "bfloat16"),
        ("shape", (2, 8, 2)),
    ],
)
def test_latents_of_another_encoder_are_refused_with_the_difference(directory: Path, name: str, value: object) -> None:
    with pytest.raises(IdentityError) as caught:
        Latents.open(directory, replace(FACTS, **{name: value}), restore=RESTORE)
    assert f"another encoder: {name}: {getattr(FACTS, name)} here, {value} there" in caught.value.what
    assert ";" not in caught.value.what
    assert caught.value.fix.startswith(RESTORE)


def test_every_bit_is_proved_when_it_is_first_read(directory: Path) -> None:
    path = _shards(directory)[1]
    whole = path.read_bytes()
    for bit in np.random.default_rng(1).choice(8 * len(whole), 40, replace=False).tolist():
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        row = bit // 8 // FACTS.row_bytes
        found = _open(directory)
        with pytest.raises(DataError, match=f"row {row}, image {IMAGES[5 + row]}, has changed bytes") as caught:
            found.many(IMAGES)
        assert caught.value.fix == f"rm {path} && {RESTORE}"
        found.find(IMAGES[5 + (row + 1) % 5])
    path.write_bytes(whole)
    _open(directory).many(IMAGES)


def test_a_latent_of_another_image_does_not_pass(directory: Path) -> None:
    path = _shards(directory)[0]
    size, data = FACTS.row_bytes, path.read_bytes()
    path.write_bytes(data[size : 2 * size] + data[:size] + data[2 * size :])
    with pytest.raises(DataError, match="row 0"):
        _open(directory).find(IMAGES[0])
    assert row_digest(data[:size], b"a" * 32) != row_digest(data[:size], b"b" * 32)


def test_removed_and_cut_shards_are_listed_with_the_command(directory: Path) -> None:
    first, second, _ = _shards(directory)
    first.unlink()
    with open(second, "r+b") as handle:
        handle.truncate(100)
    with pytest.raises(DataError, match="2 of 3 shards") as caught:
        _open(directory)
    assert "10 of 12 latents" in caught.value.what
    assert caught.value.fix == RESTORE
    assert first.name in caught.value.what
    assert second.name in caught.value.what


def test_a_shard_that_goes_while_it_is_open_is_named(directory: Path) -> None:
    found, path = _open(directory), _shards(directory)[2]
    path.unlink()
    with pytest.raises(DataError, match=path.name):
        found.find(IMAGES[11])
    found.find(IMAGES[0])


def test_images_without_a_latent_are_counted_and_named(directory: Path) -> None:
    found = _open(directory)
    asked = [*IMAGES[:5], *STRANGE]
    assert found.missing(asked) == STRANGE
    for call in (found.require, found.many):
        with pytest.raises(DataError, match="no latent of 20 of 25 images") as caught:
            call(asked)
        assert STRANGE[7] in caught.value.what
        assert STRANGE[8] not in caught.value.what
        assert caught.value.fix == RESTORE
    with pytest.raises(DataError, match="no latent of 1 of 1 images"):
        found.find(STRANGE[0])


def test_a_changed_index_and_an_absent_manifest_are_refused(directory: Path) -> None:
    index = directory / "index.parquet"
    data = bytearray(index.read_bytes())
    data[-20] ^= 1
    index.write_bytes(data)
    with pytest.raises(DataError, match="blake3"):
        _open(directory)
    (directory / "manifest.json").unlink()
    with pytest.raises(DataError, match="does not exist"):
        _open(directory)
