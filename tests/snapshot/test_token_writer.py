from pathlib import Path

import pytest

from trackyard.errors import DataError
from trackyard.snapshot.token_shards import TokenManifest
from trackyard.snapshot.token_writer import write_tokens


def write(directory: Path, documents, **changes) -> TokenManifest:
    options = {"source": {}, "licence": "CC0-1.0", "tokenizer": "a" * 64, "vocabulary": 50_304, "shard_tokens": 1000}
    return write_tokens(directory, documents, dataset="stream", **(options | changes))


def test_on_disk_they_are_little_endian_and_as_narrow_as_the_vocabulary_allows(tmp_path: Path) -> None:
    for vocabulary, width in ((65_536, 2), (65_537, 4)):
        directory = tmp_path / str(width)
        write(directory, [[1, 65_535]], vocabulary=vocabulary)
        expected = (1).to_bytes(width, "little") + (65_535).to_bytes(width, "little")
        assert (directory / "tokens-00000.bin").read_bytes() == expected


@pytest.mark.parametrize("wrong", [-1, 50_304])
def test_an_id_that_would_become_another_is_refused(tmp_path: Path, wrong: int) -> None:
    with pytest.raises(DataError, match=f"document 1 of stream holds token ids .*{wrong}"):
        write(tmp_path / "t", [[1, 2], [3, wrong]])
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_write_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no usable row"):
        write(tmp_path / "t", [[], []])
    (tmp_path / "t").mkdir()
    with pytest.raises(DataError, match="exists already"):
        write(tmp_path / "t", [[1]])


def test_a_manifest_says_what_was_written(tmp_path: Path) -> None:
    manifest = write(tmp_path / "t", [[1, 2, 3], [], [4, 5]], shard_tokens=2)
    assert (manifest.tokens, manifest.documents, manifest.tokenizer) == (5, 3, "a" * 64)
    assert [file.path for file in manifest.files] == [
        *(f"tokens-{number:05d}.bin" for number in range(3)),
        "index.npy",
        "blocks.npy",
    ]
    assert TokenManifest.read(tmp_path / "t", restore="") == manifest
