"""The stage that makes token sets of the source: every document tokenised once, held-out sets first.

    trackyard run pile_ffn tokenize --shard 3/8     # streams 3, 11, ... of documents, as chunks of ids
    trackyard run pile_ffn tokenize                 # what is missing, and all sets

What is done lies under runs/ until all of it is: a stream of documents is complete as a directory, or under way as
chunks of ids, so that a process that was killed goes on where it was and ends with the same shards. A part makes chunks
only: what is taken of a stream depends on those before it.
Source: pile-ffn spec sections 5, 10 and 14.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trackyard.digest import digest_json, short
from trackyard.durable import atomic_directory, sweep
from trackyard.recipes.parts import alone, part_named, tell_if_empty
from trackyard.recipes.pile_ffn.cells import UNTOUCHED, Cell
from trackyard.recipes.pile_ffn.results import DOCUMENT, write_result
from trackyard.recipes.pile_ffn.study import TRACK, Study
from trackyard.recipes.pile_ffn.text import tokenizer as study_tokenizer
from trackyard.recipes.pile_ffn.text.document_table import TableWriter, check_splits, read_table, write_table
from trackyard.recipes.pile_ffn.text.documents import Dropped, Selection, Tokenised
from trackyard.recipes.pile_ffn.text.encoding import Encoding, encoded
from trackyard.recipes.pile_ffn.text.placing import hard_link
from trackyard.recipes.pile_ffn.text.reading import read_documents
from trackyard.recipes.pile_ffn.text.source_manifest import MODEL, SourceManifest
from trackyard.recipes.pile_ffn.text.streams import Stream, streams
from trackyard.recipes.pile_ffn.text.token_progress import CHUNK_TOKENS, TokenProgress
from trackyard.recipes.pile_ffn.text.token_sets import PRETRAIN, STAGE, TABLE, TOKENIZER
from trackyard.schema import read_document, write_document
from trackyard.snapshot.token_shards import TokenManifest
from trackyard.snapshot.token_writer import write_tokens

FORMAT = 1
"""Of what lies under runs/; raised when ids or their selection would be others."""
SHARD_TOKENS = 1 << 24
"""Tokens of a shard, 34 MB in 16 bits; a few times that is held while it is written."""
DONE, DONE_SCHEMA = "done.json", "trackyard-pile-ffn-stream/1"

Say = Callable[[str], None]


def tokenize(study: Study, item: str | None, say: Say, *, chunk_tokens: int = CHUNK_TOKENS) -> None:
    """Make `Study.tokens` of `Study.source`, in place of what was there; or the ids of a part "K/N" of the streams.

    chunk_tokens: what a killed process may have to do again. DataError for a source that has changed or is too small,
    ConfigError for what is no part.
    """
    part = part_named(item, again=f"trackyard run {TRACK} {STAGE}")
    started = time.monotonic()
    manifest = SourceManifest.read(study.source)
    manifest.prove(study.source)
    kept = study.runs / TRACK / "tokens"
    why = "each would remove what the other makes"
    with alone(kept.parent, kept.name, part, what="the token sets of this study", why=why):
        key = _key(study, manifest)
        job = _Job(study=study, manifest=manifest, work=kept / short(key), say=say, chunk_tokens=chunk_tokens)
        if item is not None:
            tell_if_empty(part, len(job.streams), say)
            encoding = job.encoding()
            for stream in part.of_list(job.streams):
                job.encode(stream, encoding)
            return
        sweep(job.work)
        encoding = job.encoding()
        for stream in job.streams:
            job.complete(stream, encoding)
        _assemble(job, encoding, key, started)
        shutil.rmtree(kept)


def _key(study: Study, manifest: SourceManifest) -> str:
    """Of everything that decides ids and their selection."""
    return digest_json(
        {
            "format": FORMAT,
            "spec": study.spec_digest(STAGE),
            "source": {file.path: [file.role, file.blake3] for file in manifest.files},
            "tokenizers": version("tokenizers"),
        }
    )


@dataclass(kw_only=True)
class _Job:
    """work: where streams are completed. selection: what has been taken so far."""

    study: Study
    manifest: SourceManifest
    work: Path
    say: Say
    chunk_tokens: int

    def __post_init__(self) -> None:
        self.selection = Selection()
        self.streams = streams(self.study.parameters)

    def encoding(self) -> Encoding:
        """The tokenizer, made or copied once."""
        folder, model, made = self.work / TOKENIZER, self.study.source / MODEL, self.study.parameters.model.made
        if not folder.exists():
            # Another part may be faster; it makes the same.
            with suppress(FileExistsError), atomic_directory(folder) as fresh:
                if made is None:
                    study_tokenizer.copy(fresh, model)
                else:
                    files = [self.study.source / file.path for file in self.manifest.of_role(PRETRAIN)]
                    texts = (document.text for path in files for document in read_documents(path))
                    study_tokenizer.train(fresh, made, texts)
        family, rows = (made.family, made.vocabulary) if made else study_tokenizer.family_and_rows(model)
        marks = study_tokenizer.marks_of(folder, family=family, vocabulary=rows)
        return Encoding(file=folder / study_tokenizer.FILE, marks=marks)

    def folder(self, stream: Stream) -> Path:
        """The sets of a completed stream, its table, and what had been dropped by its end."""
        return self.work / stream.name

    def encode(self, stream: Stream, encoding: Encoding) -> None:
        """Make the ids of a stream as far as its sets need them if nothing of it is held out or taken elsewhere.

        Where something is, the documents behind are left to `complete`, which reads these ids and goes on.
        """
        if self.folder(stream).exists():
            self.say(f"{stream.name:9} is there already")
            return
        progress = TokenProgress(self.work / f"{stream.name}.chunks", chunk_tokens=self.chunk_tokens)
        encode = partial(encoded, encoding=encoding, workers=self.study.parameters.data.workers)
        documents = progress.tokenised(stream.documents(self.study, self.manifest), encode)
        if stream.pool is not None:
            used = sum(1 for _ in Selection().hold_out(stream.pool, documents, self.study.parameters.data.held_out))
        else:
            used, tokens = 0, 0
            while tokens < stream.tokens and (item := next(documents, None)) is not None:
                used, tokens = used + 1, tokens + item.ids.size
        progress.keep()
        self.say(f"{stream.name:9} {used:,} documents have their ids")

    def complete(self, stream: Stream, encoding: Encoding) -> None:
        """Tokenise a stream, unless an earlier process has."""
        folder = self.folder(stream)
        if folder.exists():
            self._resume(stream)
            self.say(f"{stream.name:9} is there already")
            return
        progress = TokenProgress(self.work / f"{stream.name}.chunks", chunk_tokens=self.chunk_tokens)
        encode = partial(encoded, encoding=encoding, workers=self.study.parameters.data.workers)
        documents = progress.tokenised(stream.documents(self.study, self.manifest), encode)
        taken = stream.taken(self.selection, documents, self.study.parameters.data.held_out)
        with atomic_directory(folder) as fresh:
            with TableWriter(fresh / TABLE) as table:
                for name, items in groupby(taken, key=lambda pair: pair[0]):
                    written = write_tokens(
                        fresh / name,
                        self._recorded(stream, items, table),
                        dataset=f"{TRACK} {name}",
                        source=dict(self.manifest.text),
                        licence=self.manifest.text.get("licence", "CC0-1.0"),
                        tokenizer=encoding.marks.digest,
                        vocabulary=encoding.marks.vocabulary,
                        shard_tokens=SHARD_TOKENS,
                    )
                    self.say(f"{name:9} {written.documents:,} documents, {written.tokens:,} tokens")
            write_document(fresh / DONE, DONE_SCHEMA, {"dropped": asdict(self.selection.dropped)})
        progress.remove()

    def _recorded(
        self, stream: Stream, items: Iterator[tuple[str, Tokenised]], table: TableWriter
    ) -> Iterator[NDArray[np.int64]]:
        for name, item in items:
            table.add(stream.entry(name, item))
            yield item.ids

    def _resume(self, stream: Stream) -> None:
        folder = self.folder(stream)
        dropped = read_document(folder / DONE, DONE_SCHEMA, fix=f"remove {self.work} and repeat the command")["dropped"]
        names = (bytes.fromhex(entry.doc_id) for entry in read_table(folder / TABLE))
        if stream.pool is None:
            self.selection.resume(trained=names, dropped=Dropped(**dropped))
        else:
            self.selection.resume(held_out=names, dropped=Dropped(**dropped))


def _assemble(job: _Job, encoding: Encoding, key: str, started: float) -> None:
    """All sets, one table, the tokenizer and the result in one directory; nothing is moved until it is whole."""
    study, target = job.study, job.study.tokens
    sweep(target.parent, target.name)
    if target.exists():
        shutil.rmtree(target)
    with atomic_directory(target) as fresh:
        shutil.copytree(job.work / TOKENIZER, fresh / TOKENIZER)
        for stream in job.streams:
            folder = job.folder(stream)
            for path in sorted(path for path in folder.glob("*/*") if path.is_file()):
                name = fresh / path.relative_to(folder)
                if not hard_link(path, name):
                    shutil.copyfile(path, name)
        write_table(
            fresh / TABLE, chain.from_iterable(read_table(job.folder(stream) / TABLE) for stream in job.streams)
        )
        hygiene = check_splits(read_table(fresh / TABLE))
        sets = {path.parent.name: TokenManifest.read(path.parent, restore="") for path in fresh.glob("*/manifest.json")}
        body = {
            "splits": {name: _split(name, manifest) for name, manifest in sets.items()},
            "dropped": asdict(job.selection.dropped),
            "tokenizer_digest": encoding.marks.digest,
            "slice_digests": {str(number): digest for number, digest in hygiene.slice_digests.items()},
        }
        header = study.header(
            STAGE,
            Cell(arm=UNTOUCHED, seed=None),
            run_id=short(key),
            inputs={(study.source / f.path).relative_to(study.root).as_posix(): f.blake3 for f in job.manifest.files},
            slice_digest=None,
            precision={"ids": next(iter(sets.values())).dtype},
            device="cpu",
            wall_s=time.monotonic() - started,
        )
        write_result(fresh / DOCUMENT, STAGE, header, body)


def _split(name: str, manifest: TokenManifest) -> dict[str, Any]:
    *shards, _, _ = manifest.files
    width = np.dtype(manifest.dtype).itemsize
    return {
        "docs": manifest.documents,
        "tokens": manifest.tokens,
        "dtype": manifest.dtype,
        "shards": [
            {"path": f"{name}/{file.path}", "digest": file.blake3, "tokens": file.bytes // width} for file in shards
        ],
    }
