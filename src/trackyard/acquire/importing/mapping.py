"""The mapping file: which fields of a JSONL, Parquet or text source become which parts of a row.

Source: design sections 3 and 4, molmo2 spec section 3. Examples: examples/import, catalog/mappings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from trackyard.acquire.importing.mapping_fields import HeldOut, Keep, MediaField, PointsField, QuestionMarks
from trackyard.parameters import Parameters, parse_parameters, read_yaml

Split = Literal["train", "validation"]

NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"
SUFFIXES = (".jsonl", ".parquet", ".txt")
DOCUMENT = "text"
"""The one field of a document that is cut out of a text file."""
SPLITS: tuple[Split, ...] = ("train", "validation")


class ImportMapping(Parameters):
    """How a source becomes the rows of one dataset; every name of a field is a key of the source's records.

    "qa.question" is the field question inside the field qa; where qa is a list, it is the list of them all. A question
    that is a list gives one conversation per element, and every other field of a conversation is a list as long then.

    source: files or patterns relative to the base directory of the command, or such by split. sidecar, instead of
    source: relative to the mapping file itself, for annotations that travel with the mapping.
    """

    dataset: str = Field(pattern=NAME)
    licence: str = Field(min_length=1)
    source: tuple[str, ...] | Mapping[Split, tuple[str, ...]] | None = None
    sidecar: Path | None = None
    media_root: Path = Path()
    task: str = Field(pattern=NAME)
    """A style name (molmo2 spec section 7); one that is not in its table is free text with its name as a tag."""
    id: str | None = None
    """Field with a unique id; without one, ids are made from line numbers."""
    media: tuple[MediaField, ...] = ()
    question: str | None = None
    question_marks: QuestionMarks | None = None
    context: str | None = None
    """Field with a text that is put before the question; it may be empty."""
    prompt: str | None = Field(default=None, min_length=1)
    """The same user text for every row, instead of a question."""
    answer: str | None = None
    """Field with the answer; with options, the text of the right one."""
    first_answer: bool = False
    """The answer field lists every accepted answer, and the first is learnt."""
    answer_letter: str | None = None
    """Field with the letter of the right option, A for the first."""
    answer_index: str | None = None
    """Field with the number of the right option, 0 for the first."""
    options: str | None = None
    captions: str | None = None
    """Field with one caption or a list: one conversation each, and without a prompt the feed asks for them."""
    messages: str | None = None
    """Field with a dialogue, a list of {role, content}; a list of such lists gives one conversation each."""
    points: PointsField | None = None
    """Field with the points of the one image; without a question, the feed asks for the label."""
    label: str | None = None
    """Field with what the points show."""
    subtitle: str | None = None
    """Field with [[start, end, text]] in seconds of the one video."""
    clip: str | None = None
    """Field with [start, end], the seconds of the one video that are shown."""
    keep: tuple[Keep, ...] = ()
    held_out: HeldOut | None = None
    group_by: str | None = None
    """Field with the address of the image: records that share it become conversations of one row."""
    group_limit: int = Field(default=8, gt=0)
    """Most conversations of a row that is made of several records; the rest go to further rows of the image."""
    document_characters: int | None = Field(default=None, gt=0)
    """A text file is cut at line ends into documents of at most this many characters, each a record {text}."""
    split_field: str | None = None
    split_values: Mapping[str, Split] = Field(default={"train": "train", "validation": "validation"}, min_length=1)
    """What the values of split_field mean; a record with another value is left out and counted."""
    validation_fraction: float | None = Field(default=None, gt=0, lt=1)
    """Share of the rows, chosen by the digest of their id, that are for validation."""

    @field_validator("source", mode="before")
    @classmethod
    def _one_file_is_a_list_of_one(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {split: (files,) if isinstance(files, str) else files for split, files in value.items()}
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        problem = next(self._problems(), None)
        if problem is not None:
            raise ValueError(problem)
        return self

    def _problems(self) -> Iterator[str]:
        yield from self._source_problems()
        learnt = (self.answer, self.answer_letter, self.answer_index, self.captions, self.messages, self.points)
        if sum(field is not None for field in learnt) != 1:
            yield (
                "exactly one of answer, answer_letter, answer_index, captions, messages and points says what is learnt"
            )
        if (self.answer_letter or self.answer_index) and self.options is None:
            yield "answer_letter and answer_index needs options"
        for name in ("captions", "messages"):
            if getattr(self, name) is not None and (self.question is not None or self.options is not None):
                yield f"{name} have neither a question nor options"
        if self.question is not None and self.prompt is not None:
            yield "question and prompt are both given"
        asked = self.question or self.prompt or self.captions or self.messages or (self.points and self.label)
        if not asked:
            yield "a question field or a prompt is needed (points: or a label)"
        if self.question_marks is not None and (self.question is None or self.answer is None or self.options):
            yield "question_marks need a question and an answer, and no options"
        if self.first_answer and (self.answer is None or self.options is not None):
            yield "first_answer needs an answer field, and no options"
        if self.label is not None and self.points is None:
            yield "a label needs points"
        if self.group_by is not None:
            if self.id is not None:
                yield "rows of group_by are named by the image they share, not by an id"
            if [(field.origin, field.field) for field in self.media] != [("url", self.group_by)]:
                yield "group_by needs one medium, from: url, of the same field"

    def _source_problems(self) -> Iterator[str]:
        if (self.source is None) == (self.sidecar is None):
            yield "exactly one of source and sidecar names the annotations"
        suffixes = sorted({PurePath(pattern).suffix for _, pattern in self.patterns()})
        if len(suffixes) != 1 or suffixes[0] not in SUFFIXES:
            yield f"the suffix is {' and '.join(map(repr, suffixes)) or 'missing'}, known are {', '.join(SUFFIXES)}"
        if (self.suffix == ".txt") != (self.document_characters is not None):
            yield "document_characters is needed for a .txt source, and only there"
        chosen = [isinstance(self.source, Mapping), self.split_field is not None, self.validation_fraction is not None]
        if sum(chosen) > 1:
            yield "of source by split, split_field and validation_fraction, two are both given"

    def patterns(self) -> tuple[tuple[Split | None, str], ...]:
        """(split, file or pattern) of every source as written; the split is None where the rows decide it."""
        if isinstance(self.source, Mapping):
            return tuple((split, pattern) for split in SPLITS for pattern in self.source.get(split, ()))
        return tuple((None, pattern) for pattern in self.source or (str(self.sidecar),))

    @property
    def suffix(self) -> str:
        """Format of the sources, one of SUFFIXES."""
        return PurePath(next(iter(self.patterns()), (None, ""))[1]).suffix

    @property
    def splits(self) -> tuple[Split, ...]:
        """Splits that rows can go to."""
        if isinstance(self.source, Mapping):
            wanted = {split for split, _ in self.patterns() if split is not None}
        elif self.split_field is not None:
            wanted = set(self.split_values.values())
        else:
            wanted = {"train"} if self.validation_fraction is None else {"train", "validation"}
        return tuple(split for split in SPLITS if split in wanted)

    @property
    def fields(self) -> frozenset[str]:
        """Names of every field that is read."""
        return self.required | {name for field in self.media for name in field.names().values()}

    @property
    def required(self) -> frozenset[str]:
        """Names of the fields that a table must have; of numbered ones it needs the first."""
        learnt = (self.answer, self.answer_letter, self.answer_index, self.options, self.captions, self.messages)
        around = (self.id, self.question, self.context, self.label, self.subtitle, self.clip, self.split_field)
        names = {name for name in (*learnt, *around) if name is not None}
        names |= {field.names()[min(field.names())] for field in self.media}
        names |= {rule.field for rule in self.keep}
        names |= {part.field for part in (self.points, self.held_out) if part is not None}
        return frozenset(names)


def read_mapping(path: Path) -> ImportMapping:
    """Read a mapping file; ConfigError names every key that is unknown, missing or contradicts another."""
    return parse_parameters(ImportMapping, read_yaml(path), where=str(path))
