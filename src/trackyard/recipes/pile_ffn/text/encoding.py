"""Documents to token ids with the marks of their family, in several processes, in order, a few batches ahead.

The result is the same for any number of processes. Source: pile-ffn spec section 5.
"""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from trackyard.errors import TrackyardError
from trackyard.recipes.pile_ffn.text.documents import Document, Tokenised
from trackyard.recipes.pile_ffn.text.tokenizer import Marks
from trackyard.snapshot.fast_bpe import FastBpe, plain_copy, refusal
from trackyard.snapshot.workers import live_with_parent

BATCH_BYTES = 1 << 20
"""Text that is handed to a process at once."""
ALONE_BYTES = 8 << 20
"""Text at the beginning of a stream that is done by this process: others take longer to start than that."""
AHEAD = 2
"""Batches of each process that are under way or wait to be taken."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoding:
    """What makes ids of text. file: tokenizer.json. Special tokens spelled in a text stay text."""

    file: Path
    marks: Marks

    def encoder(self) -> Callable[[str], NDArray[np.int64]]:
        """Text to its ids [n] with their marks, by pieces where the tokenizer's pipeline allows it."""
        tokenizer = Tokenizer.from_file(str(self.file))
        before = [] if self.marks.begin is None else [self.marks.begin]
        plain = plain_copy(tokenizer)
        fast = FastBpe.of(tokenizer) if refusal(tokenizer) is None else None

        def encode(text: str) -> NDArray[np.int64]:
            ids = plain.encode(text, add_special_tokens=False).ids if fast is None else fast.encode(text)
            return np.concatenate([before, ids, [self.marks.end]]).astype(np.int64)

        return encode


def encoded(documents: Iterable[Document], encoding: Encoding, *, workers: int) -> Iterator[Tokenised]:
    """Every document with its ids, in their order. TrackyardError if a process is killed."""
    encode, stream, alone = encoding.encoder(), iter(documents), 0
    for document in stream:
        yield Tokenised(document=document, ids=encode(document.text))
        alone += document.size
        if workers > 1 and alone >= ALONE_BYTES:
            break
    else:
        return
    # A fork of a process with threads may hang; a fork server has none.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(encoding,))
    try:
        yield from _in_order(pool, stream, workers * AHEAD)
    except BrokenProcessPool as error:
        raise TrackyardError(
            what="a process that tokenises was ended from outside",
            why="most often for want of memory; what was tokenised before is kept",
            fix="lower pile_ffn.data.workers in params.yaml, then repeat the same command",
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


_Ids = list[NDArray[np.uint32]]


def _in_order(pool: ProcessPoolExecutor, documents: Iterable[Document], ahead: int) -> Iterator[Tokenised]:
    waiting: deque[tuple[list[Document], Future[_Ids]]] = deque()
    for batch in _batches(documents):
        waiting.append((batch, pool.submit(_encode, [document.text for document in batch])))
        if len(waiting) > ahead:
            yield from _joined(*waiting.popleft())
    while waiting:
        yield from _joined(*waiting.popleft())


def _joined(batch: list[Document], found: Future[_Ids]) -> Iterator[Tokenised]:
    for document, ids in zip(batch, found.result(), strict=True):
        yield Tokenised(document=document, ids=ids.astype(np.int64))


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += document.size
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


_encoder: Callable[[str], NDArray[np.int64]] | None = None
"""Of this process, where it is one of the pool."""


def _begin(encoding: Encoding) -> None:
    global _encoder
    live_with_parent()
    _encoder = encoding.encoder()


def _encode(texts: list[str]) -> _Ids:
    assert _encoder is not None, "the pool begins its processes with an encoder"
    return [_encoder(text).astype(np.uint32) for text in texts]
