from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackyard.durable import TEMPORARY
from trackyard.errors import DataError
from trackyard.recipes.pile_ffn.text.documents import Document, Tokenised
from trackyard.recipes.pile_ffn.text.token_progress import TokenProgress


def documents(count: int, word: str = "text") -> list[Document]:
    return [Document.of(f"{word} {n}" * (n % 4), component="", source="a", row=n) for n in range(count)]


class Encoder:
    """Bytes as ids; counts what it did."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def __call__(self, stream: Iterable[Document]) -> Iterator[Tokenised]:
        for document in stream:
            self.rows.append(document.row)
            yield Tokenised(document=document, ids=np.array([*document.text.encode(), 256]))


def taken(folder: Path, encoder: Encoder, count: int, stop: int) -> list[tuple[int, list[int]]]:
    progress = TokenProgress(folder, chunk_tokens=40)
    found = []
    stream = progress.tokenised(documents(count), encoder)
    for _ in range(stop):
        item = next(stream)
        found.append((item.document.row, item.ids.tolist()))
    return found


@settings(max_examples=25)
@given(stops=st.lists(st.integers(0, 60), max_size=5))
def test_any_interruptions_give_the_same_and_repeat_less_than_a_chunk(
    tmp_path_factory: pytest.TempPathFactory, stops: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("progress") / "val.chunks"
    encoder = Encoder()
    for stop in stops:
        taken(folder, encoder, 60, stop)
    expected = [(n, [*document.text.encode(), 256]) for n, document in enumerate(documents(60))]
    assert taken(folder, encoder, 60, 60) == expected
    repeated = len(encoder.rows) - 60
    # A chunk is 40 tokens, and no four documents have fewer.
    assert repeated <= 8 * len(stops)


def test_chunks_of_other_text_are_refused(tmp_path: Path) -> None:
    taken(tmp_path / "a", Encoder(), 40, 40)
    progress = TokenProgress(tmp_path / "a", chunk_tokens=40)
    with pytest.raises(DataError, match=r"000000\.npz: document 1 is not the one"):
        list(progress.tokenised(documents(40, "other"), Encoder()))
    with pytest.raises(DataError, match="not the one that the files hold"):
        list(progress.tokenised(documents(3), Encoder()))


def test_a_damaged_chunk_is_named_with_what_to_remove(tmp_path: Path) -> None:
    taken(tmp_path / "a", Encoder(), 40, 40)
    path = tmp_path / "a" / "000001.npz"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"000001\.npz: it cannot be read") as caught:
        taken(tmp_path / "a", Encoder(), 40, 40)
    assert str(tmp_path / "a") in caught.value.fix


def test_what_a_kill_left_half_written_is_no_chunk(tmp_path: Path) -> None:
    encoder = Encoder()
    taken(tmp_path / "a", encoder, 40, 20)
    (tmp_path / "a" / f"{TEMPORARY}000009.npz.1.1").write_bytes(b"half")
    taken(tmp_path / "a", encoder, 40, 40)
    assert not list((tmp_path / "a").glob(f"{TEMPORARY}*"))
    TokenProgress(tmp_path / "a").remove()
    assert not (tmp_path / "a").exists()
