"""What is recorded of one answer and of one timing, as lines of JSON. Source: nine-datasets spec section 8.

A line of an answer holds nothing of when and where it was made: the same model and question give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import from_json

from trackyard.digest import canonical_json
from trackyard.errors import DataError

Count = Annotated[int, Field(ge=0)]
Milliseconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Status = Literal["ok", "failed"]
STRICT = ConfigDict(strict=True, extra="forbid")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One answer. Raises ValueError for a failure without its error, or an error of an answer that succeeded.

    key: of the configuration. id: `dataset:split:name`. references or answer_index: what it was scored against.
    parsed: what was read of the answer, None where no rule could read it. score: by metric, those of one answer.
    n_prompt: tokens of the prompt, of which n_visual stand for features of images. hit_cap: the answer ended there.
    error: why there is no answer.
    """

    SCHEMA: ClassVar[str] = "trackyard-sample/1"
    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    key: str
    id: str
    dataset: str
    split: str
    pred: str
    references: tuple[str, ...] | None = None
    answer_index: int | None = None
    parsed: str | None
    score: Mapping[str, Share]
    n_visual: Count
    n_prompt: Count
    n_out: Count
    hit_cap: bool
    status: Status = "ok"
    error: str | None = None

    def __post_init__(self) -> None:
        if (self.status == "failed") is not bool(self.error):
            raise ValueError(f"{self.id}: status {self.status} with the error {self.error!r}")

    @property
    def counts(self) -> bool:
        """Whether its question is done with it."""
        return True

    @property
    def failed(self) -> bool:
        """Whether doing it again may help."""
        return self.status == "failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Latency:
    """Milliseconds of one answer at batch 1; what each part is says section 7.

    warmup: not counted; its question may be timed again. valid: its parts sum to the whole.
    """

    SCHEMA: ClassVar[str] = "trackyard-latency/1"
    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    key: str
    id: str
    t_pre_ms: Milliseconds
    t_vision_ms: Milliseconds
    t_prefill_ms: Milliseconds
    t_decode_ms: Milliseconds
    t_total_ms: Milliseconds
    n_visual: Count
    n_prompt: Count
    n_out: Count
    warmup: bool
    valid: bool

    @property
    def counts(self) -> bool:
        """Whether its question is done with it."""
        return not self.warmup

    @property
    def failed(self) -> bool:
        """Whether doing it again may help."""
        return not self.valid


R = TypeVar("R", Sample, Latency)


class Lines(Generic[R]):
    """Records of one kind as lines of JSON and back."""

    def __init__(self, kind: type[R]) -> None:
        self.schema = kind.SCHEMA
        self._names = tuple(field.name for field in fields(kind))
        self._adapter: TypeAdapter[R] = TypeAdapter(kind)
        self._stated = f'"schema":"{self.schema}",'.encode()

    def line(self, record: R) -> bytes:
        """The record in canonical JSON, without an end of line. ValueError for a number that is not finite."""
        values: dict[str, Any] = {name: getattr(record, name) for name in self._names}
        return canonical_json({"schema": self.schema} | values)

    def record(self, line: bytes, *, where: str) -> R | None:
        """The record of a line; None for a line that is no JSON, as a kill or a power cut leaves behind.

        DataError if it is of another schema, or lacks or misstates a part.
        """
        # The schema is no field. In canonical JSON it can be cut out as bytes: inside of a text its quotes are escaped.
        before, stated, after = line.partition(self._stated)
        try:
            if stated:
                return self._adapter.validate_json(before + after)
            from_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            if first["type"] == "json_invalid":
                return None
            part = ".".join(map(str, first["loc"])) or "the line"
            raise _misread(where, self.schema, f"{part}: {first['msg']}") from error
        except ValueError:
            return None
        raise _misread(where, self.schema, f"{line[:80]!r} does not say so")


def _misread(where: str, schema: str, problem: str) -> DataError:
    return DataError(
        what=f"{where} holds a line that is no {schema}: {problem}",
        why="a record that is not understood cannot be counted, and leaving it out would hide it",
        fix=f"move {where} away and run the stage again, which does its questions again; "
        "if another version of trackyard wrote it, go on with that one",
    )
