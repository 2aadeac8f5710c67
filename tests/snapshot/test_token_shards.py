import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackyard.errors import DataError
from trackyard.snapshot import token_shards
from trackyard.snapshot.token_shards import TokenManifest, TokenShards
from trackyard.snapshot.token_writer import BLOCKS, INDEX, write_tokens


def write(directory: Path, documents, **changes) -> TokenManifest:
    options = {"source": {}, "licence": "CC0-1.0", "tokenizer": "a" * 64, "vocabulary": 50_304, "shard_tokens": 1000}
    return write_tokens(directory, documents, dataset="stream", **(options | changes))


@pytest.fixture
def stream(tmp_path: Path) -> tuple[Path, np.ndarray]:
    """40,000 ids in one shard of two blocks, and the rest in another."""
    ids = np.random.default_rng(0).integers(0, 50_304, 50_000)
    write(tmp_path / "t", np.split(ids, [10, 10, 25_000]), shard_tokens=40_000)
    return tmp_path / "t", ids


@settings(max_examples=12)
@given(
    documents=st.lists(st.lists(st.integers(0, 199_999), max_size=30), min_size=1, max_size=12).filter(any),
    shard=st.integers(1, 40),
    data=st.data(),
)
def test_any_window_is_that_of_the_joined_documents(
    tmp_path_factory: pytest.TempPathFactory, documents: list[list[int]], shard: int, data: st.DataObject
) -> None:
    directory = tmp_path_factory.mktemp("tokens") / "t"
    manifest = write(directory, documents, vocabulary=200_000, shard_tokens=shard)
    joined = [token for document in documents for token in document]
    found = TokenShards.open(directory)
    assert (found.tokens, manifest.documents, manifest.dtype) == (len(joined), len(documents), "uint32")
    assert np.diff(found.starts).tolist() == [len(document) for document in documents]
    start = data.draw(st.integers(0, len(joined)))
    length = data.draw(st.integers(0, len(joined) - start))
    batch = found.batch([start, 0], length)
    assert batch.dtype == np.int64
    assert batch.tolist() == [joined[start : start + length], joined[:length]]


def test_tokens_that_are_not_there(stream: tuple[Path, np.ndarray]) -> None:
    found = TokenShards.open(stream[0])
    for start, length in ((-1, 1), (49_990, 11), (50_001, 0)):
        with pytest.raises(IndexError, match="of 50000"):
            found.batch([start], length)


def test_a_flip_is_found_where_it_is_read_and_nowhere_else(stream: tuple[Path, np.ndarray]) -> None:
    directory, ids = stream
    path = directory / "tokens-00000.bin"
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[65_536 + 100] ^= 4
    path.write_bytes(damaged)
    found = TokenShards.open(directory, restore="ask the owner")
    assert found.batch([32_000], 768).tolist() == [ids[32_000:32_768].tolist()]
    for start, length in ((32_000, 769), (39_999, 1), (30_000, 15_000)):
        with pytest.raises(DataError, match=r"tokens-00000\.bin cannot be read: 64 KiB block 1") as caught:
            found.batch([start], length)
        assert caught.value.fix == "ask the owner"


def test_without_the_guard_a_flip_is_silent(stream: tuple[Path, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control."""
    directory, ids = stream
    found = TokenShards.open(directory)
    found._proven[0][:] = b"\1" * len(found._proven[0])
    damaged = bytearray((directory / "tokens-00000.bin").read_bytes())
    damaged[100] ^= 4
    (directory / "tokens-00000.bin").write_bytes(damaged)
    assert (found.batch([0], 100) != ids[:100]).sum() == 1


@pytest.mark.parametrize("name", [BLOCKS, INDEX])
def test_other_files_are_proved_before_they_are_used(stream: tuple[Path, np.ndarray], name: str) -> None:
    path = stream[0] / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"{name} cannot be read: blake3"):
        _ = TokenShards.open(stream[0]).starts


@pytest.mark.parametrize("name", ["tokens-00001.bin", BLOCKS, INDEX])
def test_opening_names_what_is_absent_or_cut(stream: tuple[Path, np.ndarray], name: str) -> None:
    path = stream[0] / name
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(DataError, match=name):
        TokenShards.open(stream[0])
    path.unlink()
    with pytest.raises(DataError, match=name):
        TokenShards.open(stream[0])


def test_a_shard_that_goes_away_later(stream: tuple[Path, np.ndarray]) -> None:
    found = TokenShards.open(stream[0])
    (stream[0] / "tokens-00001.bin").unlink()
    found.batch([0], 10)
    with pytest.raises(DataError, match="tokens-00001"):
        found.batch([39_999], 2)


def test_a_manifest_that_misstates(stream: tuple[Path, np.ndarray]) -> None:
    path = stream[0] / "manifest.json"
    text = path.read_text()
    path.write_text(text.replace('"uint16"', '"int16"'))
    with pytest.raises(DataError, match="misstates dtype"):
        TokenShards.open(stream[0])
    path.write_text(text.replace('"tokens": 50000', '"tokens": 49999'))
    with pytest.raises(DataError, match="50000 tokens"):
        TokenShards.open(stream[0])


def test_it_can_be_sent_to_another_process(stream: tuple[Path, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_shards, "OPEN_SHARDS", 1)
    found = TokenShards.open(stream[0])
    expected = found.batch([39_990, 0], 20)
    assert np.array_equal(pickle.loads(pickle.dumps(found)).batch([39_990, 0], 20), expected)
