"""The samples that are trained on: a list of captions and of where their pictures lie.

    samples = Samples.open(study)
    samples[0].caption, samples.image_bytes(0)

Source: theworld section 7, curate: the list is no copy of the pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from trackyard.acquire.images.lookup import Lost, UrlImages
from trackyard.errors import DataError
from trackyard.recipes.datacomp.ingest.blocks import block_directory
from trackyard.recipes.datacomp.results import PIPELINE
from trackyard.recipes.datacomp.study import Study

COLUMNS = pa.schema(
    [
        ("uid", pa.string()),
        ("url", pa.string()),
        ("caption", pa.string()),
        ("image", pa.string()),
        ("block", pa.int32()),
    ]
)


@dataclass(frozen=True, slots=True)
class Sample:
    """caption: NFC, without space around it, never empty. image: blake3 of the stored bytes, hex. block: of images."""

    uid: str
    url: str
    caption: str
    image: str
    block: int


class Samples:
    """Samples by number, in keyed order. About 250 bytes of each are held, and 26 of each row of the blocks read."""

    def __init__(self, study: Study, table: pa.Table) -> None:
        self._study, self._table = study, table
        self._blocks: dict[int, UrlImages] = {}

    @classmethod
    def open(cls, study: Study) -> Samples:
        """DataError if the list is absent, damaged, or has other columns. No picture is read."""
        try:
            table = pq.read_table(study.curated, page_checksum_verification=True, use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise _unusable(study.curated, f"cannot be read: {error}") from error
        if table.schema.remove_metadata() != COLUMNS:
            raise _unusable(study.curated, f"has the columns {', '.join(table.schema.names)}")
        return cls(study, table.combine_chunks())

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __getitem__(self, index: int) -> Sample:
        """IndexError outside 0..len-1."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        return Sample(*(column[index].as_py() for column in self._table.columns))

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    def image_bytes(self, index: int) -> bytes:
        """The stored picture of a sample; the order of the list is the fast one to read in.

        DataError if the block holds no picture for it, or another one than when the list was made.
        """
        sample = self[index]
        block = self._block(sample.block)
        found = block.find(sample.url)
        if isinstance(found, Lost) or found.blake3 != sample.image:
            now = f"none ({found.cause})" if isinstance(found, Lost) else f"one with blake3 {found.blake3}"
            raise DataError(
                what=f"sample {sample.uid}: {block.directory} holds {now}, not the picture {sample.image}",
                why="the block was fetched anew after the list of samples was made",
                fix=f"dvc repro {PIPELINE}:curate, and what follows from it",
            )
        return found.bytes

    def _block(self, number: int) -> UrlImages:
        if number not in self._blocks:
            self._blocks[number] = UrlImages.open(block_directory(self._study, number))
        return self._blocks[number]


def _unusable(path: Path, problem: str) -> DataError:
    return DataError(
        what=f"the list of samples {path} {problem}",
        why="it says what is trained on",
        fix=f"dvc repro {PIPELINE}:curate",
    )
