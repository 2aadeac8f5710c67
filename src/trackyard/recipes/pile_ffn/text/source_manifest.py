"""manifest.json of a study's source: which files there are, what each is for, and the digest that proves it.

Source: pile-ffn spec sections 5 and 11.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from trackyard.digest import digest_file
from trackyard.errors import ConfigError, DataError
from trackyard.recipes.pile_ffn.parameters import PileFfnParameters
from trackyard.recipes.pile_ffn.text.token_sets import PRETRAIN, training_set
from trackyard.schema import read_document, write_document

SCHEMA = "trackyard-pile-ffn-source/1"
NAME = "manifest.json"
TEXT, MODEL = "text", "model"
VAL, TEST = "val", "test"
AGAIN = "fetch again: dvc repro -f pipelines/pile_ffn/dvc.yaml:fetch"


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFile:
    """path: below the source's folder. role: train-00, ..., pretrain, val or test; model for a file of the model."""

    path: str
    role: str
    bytes: int
    blake3: str

    @classmethod
    def of(cls, folder: Path, path: Path, role: str) -> SourceFile:
        name = path.relative_to(folder).as_posix()
        return cls(path=name, role=role, bytes=path.stat().st_size, blake3=digest_file(path))


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceManifest:
    """text, model: where they come from, with commit and licence where there are such. files: in the order of use."""

    text: Mapping[str, str]
    model: Mapping[str, str]
    files: tuple[SourceFile, ...]

    def write(self, folder: Path) -> None:
        write_document(folder / NAME, SCHEMA, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> SourceManifest:
        """DataError if there is none, or if it lacks or misstates a field."""
        body = read_document(folder / NAME, SCHEMA, fix=AGAIN)
        try:
            return _ADAPTER.validate_python(body)
        except ValidationError as error:
            raise DataError(
                what=f"{folder / NAME} lacks or misstates a field: {error.errors()[0]['loc']}",
                why="it says which file is for what",
                fix=AGAIN,
            ) from error

    def of_role(self, role: str) -> tuple[SourceFile, ...]:
        """DataError if the source has no such file."""
        found = tuple(file for file in self.files if file.role == role)
        if not found:
            raise DataError(
                what=f"the source holds no file for {role}, only for {', '.join(sorted({f.role for f in self.files}))}",
                why="every seed has training text of its own, and held-out text is in no training file",
                fix=AGAIN,
            )
        return found

    def prove(self, folder: Path) -> None:
        """DataError for a file that is absent or has changed since it was fetched."""
        for file in self.files:
            path = folder / file.path
            if not path.is_file() or digest_file(path) != file.blake3:
                raise DataError(
                    what=f"{path} is absent, or its bytes are not those that were fetched",
                    why="results would name a source that they were not made from",
                    fix=AGAIN,
                )


_ADAPTER = TypeAdapter(SourceManifest)


def training_roles(parameters: PileFfnParameters) -> tuple[str, ...]:
    """What a study's training files are for, in the order of the parameters: a slice for each seed, pretraining."""
    made = (PRETRAIN,) if parameters.model.made is not None else ()
    return (*map(training_set, range(len(parameters.seeds))), *made)


def refuse_shared(found: Mapping[str, tuple[str, ...]]) -> None:
    """ConfigError if a file has two roles. found: files by role."""
    taken: dict[str, str] = {}
    for role, name in _pairs(found):
        if name in taken:
            raise ConfigError(
                what=f"{name} is named for {taken[name]} and for {role}",
                why="replicates have text of their own, and held-out text is never trained on",
                fix="name disjoint files under pile_ffn.data.source in params.yaml",
            )
        taken[name] = role


def _pairs(found: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, str]]:
    return ((role, name) for role, names in found.items() for name in names)
