import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from trackyard.errors import TrackyardError
from trackyard.feed.tokens import train_tokenizer
from trackyard.recipes.pile_ffn.text import encoding
from trackyard.recipes.pile_ffn.text.documents import Document
from trackyard.recipes.pile_ffn.text.encoding import Encoding, encoded
from trackyard.recipes.pile_ffn.text.mini_corpus import document
from trackyard.recipes.pile_ffn.text.tokenizer import Marks
from trackyard.snapshot.fast_bpe import plain_copy, refusal


def documents(count: int) -> Iterator[Document]:
    for number in range(count):
        text = document(0, "any", number).text
        yield Document.of(text, component="", source="any", row=number)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    tokenizer = train_tokenizer((item.text for item in documents(20)), 400)
    tokenizer.backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def marks(begin: int | None) -> Marks:
    return Marks(begin=begin, end=1, vocabulary=400, digest="a" * 64)


@pytest.mark.parametrize("begin", [None, 2])
def test_marks_are_put_around_the_ids(file: Path, begin: int | None) -> None:
    plain = plain_copy(Tokenizer.from_file(str(file)))
    for item in encoded(documents(20), Encoding(file=file, marks=marks(begin)), workers=1):
        ids = plain.encode(item.document.text, add_special_tokens=False).ids
        assert item.ids.tolist() == [*([] if begin is None else [begin]), *ids, 1]
        assert item.ids.dtype == np.int64


def test_an_empty_text_is_its_marks(file: Path) -> None:
    empty = Document.of("", component="", source="any", row=0)
    assert next(encoded([empty], Encoding(file=file, marks=marks(2)), workers=1)).ids.tolist() == [2, 1]


def test_a_tokenizer_of_another_kind_is_used_as_it_is(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({"?": 0, "a": 3, "b": 4}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert refusal(tokenizer) is not None
    text = Document.of("a  b c", component="", source="any", row=0)
    found = next(encoded([text], Encoding(file=tmp_path / "tokenizer.json", marks=marks(None)), workers=1))
    assert found.ids.tolist() == [3, 4, 0, 1]


def test_processes_read_no_further_than_a_few_batches(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "ALONE_BYTES", 1)
    monkeypatch.setattr(encoding, "BATCH_BYTES", 5_000)
    read = 0

    def counted() -> Iterator[Document]:
        nonlocal read
        for item in documents(300):
            read += 1
            yield item

    stream = encoded(counted(), Encoding(file=file, marks=marks(None)), workers=2)
    found = [next(stream) for _ in range(10)]
    assert [item.document.row for item in found] == list(range(10))
    # 5,000 bytes are about three documents; four batches are under way, and one is read.
    assert read < 10 + 6 * 5
    stream.close()


def _dies(texts: list[str]) -> list[np.ndarray]:
    os.kill(os.getpid(), signal.SIGKILL)
    return []


def test_a_process_that_is_killed_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "ALONE_BYTES", 1)
    monkeypatch.setattr(encoding, "_encode", _dies)
    with pytest.raises(TrackyardError, match="ended from outside") as caught:
        list(encoded(documents(9), Encoding(file=file, marks=marks(None)), workers=2))
    assert "workers" in caught.value.fix
