"""The mapping file: which fields of a JSONL, Parquet or text source become which parts of a row.

Source: design sections 3 and 4, molmo2 spec section 3. Examples: examples/import.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from trackyard.parameters import Parameters, parse_parameters, read_yaml

Split = Literal["train", "validation"]

NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"
SUFFIXES = (".jsonl", ".parquet", ".txt")
NUMBER = "{n}"
"""Stands for the number in the names and marks of numbered fields."""
DOCUMENT = "text"
"""The one field of a document that is cut out of a text file."""


class MediaField(Parameters):
    """A field that holds media: a path below the media root, bytes, {bytes, path} as `datasets` stores it, or a list.

    numbers: 7 with field "image_{n}" means image_1 to image_7, of which absent ones are skipped.
    mark: how texts refer to a numbered medium, for example "<image {n}>". A mark becomes plain "image 1" text, numbered
    as the row holds the media, because the model sees all media before the text.
    """

    field: str = Field(min_length=1)
    kind: Literal["image", "video"]
    numbers: int | None = Field(default=None, gt=0, le=1000)
    mark: str | None = None

    @model_validator(mode="after")
    def _is_numbered_throughout(self) -> Self:
        if (NUMBER in self.field) != (self.numbers is not None):
            raise ValueError(f"field {self.field!r} and numbers={self.numbers}: {NUMBER} and numbers go together")
        if self.mark is not None and (self.numbers is None or self.mark.count(NUMBER) != 1):
            raise ValueError(f"mark {self.mark!r} needs {NUMBER} once, and a numbered field")
        return self

    def names(self) -> dict[int, str]:
        """Field names by number; the number is 0 where the field has none."""
        if self.numbers is None:
            return {0: self.field}
        return {number: self.field.replace(NUMBER, str(number)) for number in range(1, self.numbers + 1)}


class ImportMapping(Parameters):
    """How a source becomes the rows of one dataset; every name of a field is a key of the source's records.

    source, media_root: relative to the base directory of the command. sidecar, instead of source: relative to the
    mapping file itself, for annotations that travel with the mapping.
    """

    dataset: str = Field(pattern=NAME)
    licence: str = Field(min_length=1)
    source: Path | None = None
    sidecar: Path | None = None
    media_root: Path = Path()
    task: str = Field(pattern=NAME)
    """A style name (molmo2 spec section 7); one that is not in its table is free text with its name as a tag."""
    id: str | None = None
    """Field with a unique id; without one, ids are made from line numbers."""
    media: tuple[MediaField, ...] = ()
    question: str | None = None
    prompt: str | None = Field(default=None, min_length=1)
    """The same user text for every row, instead of a question."""
    answer: str | None = None
    """Field with the answer; with options, the text of the right one."""
    answer_letter: str | None = None
    """Field with the letter of the right option, A for the first."""
    options: str | None = None
    captions: str | None = None
    """Field with a list of captions: one conversation each, and without a prompt the feed asks for them."""
    document_characters: int | None = Field(default=None, gt=0)
    """A text file is cut at line ends into documents of at most this many characters, each a record {text}."""
    split_field: str | None = None
    split_values: Mapping[str, Split] = Field(default={"train": "train", "validation": "validation"}, min_length=1)
    """What the values of split_field mean; a record with another value is left out and counted."""
    validation_fraction: float | None = Field(default=None, gt=0, lt=1)
    """Share of the rows, chosen by the digest of their id, that are for validation."""

    @field_validator("source", "sidecar")
    @classmethod
    def _is_of_a_known_format(cls, path: Path | None) -> Path | None:
        if path is not None and path.suffix not in SUFFIXES:
            raise ValueError(f"the suffix is {path.suffix!r}, known are {', '.join(SUFFIXES)}")
        return path

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if (self.source is None) == (self.sidecar is None):
            raise ValueError("exactly one of source and sidecar names the annotations")
        if (self.annotations.suffix == ".txt") != (self.document_characters is not None):
            raise ValueError("document_characters is needed for a .txt source, and only there")
        if sum(field is not None for field in (self.answer, self.answer_letter, self.captions)) != 1:
            raise ValueError("exactly one of answer, answer_letter and captions says what is learnt")
        if self.answer_letter is not None and self.options is None:
            raise ValueError("answer_letter needs options")
        if self.captions is not None and (self.question is not None or self.options is not None):
            raise ValueError("captions have neither a question nor options")
        if self.question is not None and self.prompt is not None:
            raise ValueError("question and prompt are both given")
        if self.captions is None and self.question is None and self.prompt is None:
            raise ValueError("a question field or a prompt is needed")
        if self.split_field is not None and self.validation_fraction is not None:
            raise ValueError("split_field and validation_fraction are both given")
        return self

    @property
    def annotations(self) -> Path:
        """The path of the source or the sidecar, as written."""
        path = self.source or self.sidecar
        if path is None:
            raise ValueError("a mapping without a source was not validated")
        return path

    @property
    def splits(self) -> tuple[Split, ...]:
        """Splits that rows can go to."""
        if self.split_field is not None:
            wanted = set(self.split_values.values())
        else:
            wanted = {"train"} if self.validation_fraction is None else {"train", "validation"}
        ordered: tuple[Split, ...] = ("train", "validation")
        return tuple(split for split in ordered if split in wanted)

    @property
    def fields(self) -> frozenset[str]:
        """Names of every field that is read."""
        single = (self.id, self.question, self.answer, self.answer_letter, self.options, self.captions)
        numbered = (name for field in self.media for name in field.names().values())
        return frozenset(name for name in (*single, self.split_field, *numbered) if name is not None)


def read_mapping(path: Path) -> ImportMapping:
    """Read a mapping file; ConfigError names every key that is unknown, missing or contradicts another."""
    return parse_parameters(ImportMapping, read_yaml(path), where=str(path))
