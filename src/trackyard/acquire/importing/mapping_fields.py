"""Parts of a mapping file that are more than the name of a field: media, points, rules of what is wanted."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from trackyard.parameters import Parameters

NUMBER = "{n}"
"""Stands for the number in the names and marks of numbered fields."""


class MediaField(Parameters):
    """A field that holds media: a path below the media root, bytes, {bytes, path} as `datasets` stores it, or a list.

    from: "url" means that the field holds an address whose image was fetched beforehand; "record" all of the above.
    numbers: 7 with field "image_{n}" means image_1 to image_7, of which absent ones are skipped.
    mark: how texts refer to a numbered medium, for example "<image {n}>". A mark becomes plain "image 1" text, numbered
    as the row holds the media, because the model sees all media before the text.
    """

    field: str = Field(min_length=1)
    kind: Literal["image", "video"]
    origin: Literal["record", "url"] = Field(default="record", alias="from")
    numbers: int | None = Field(default=None, gt=0, le=1000)
    mark: str | None = None

    @model_validator(mode="after")
    def _is_numbered_throughout(self) -> Self:
        if (NUMBER in self.field) != (self.numbers is not None):
            raise ValueError(f"field {self.field!r} and numbers={self.numbers}: {NUMBER} and numbers go together")
        if self.mark is not None and (self.numbers is None or self.mark.count(NUMBER) != 1):
            raise ValueError(f"mark {self.mark!r} needs {NUMBER} once, and a numbered field")
        if self.origin == "url" and self.kind == "video":
            raise ValueError("videos are not fetched by address: only images can come from: url")
        return self

    def names(self) -> dict[int, str]:
        """Field names by number; the number is 0 where the field has none."""
        if self.numbers is None:
            return {0: self.field}
        return {number: self.field.replace(NUMBER, str(number)) for number in range(1, self.numbers + 1)}


class PointsField(Parameters):
    """A field that holds the points of an answer: a list of {x, y}, or {x: [...], y: [...]}.

    unit: of x and y; percent and fraction of the image's width and height, pixel of the image as displayed.
    """

    field: str = Field(min_length=1)
    unit: Literal["percent", "pixel", "fraction"]


class Keep(Parameters):
    """A rule that every wanted record meets; the others are left out and counted as "not wanted: {reason}".

    present: the field is not null. any_of, none_of: values of the field. at_most: largest number.
    """

    field: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    present: bool = False
    any_of: tuple[str | int | bool, ...] | None = None
    none_of: tuple[str | int | bool, ...] | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _is_one_rule(self) -> Self:
        given = (self.present or None, self.any_of, self.none_of, self.at_most)
        if sum(rule is not None for rule in given) != 1:
            raise ValueError(f"{self.field!r} needs exactly one of present, any_of, none_of and at_most")
        return self

    def wants(self, value: Any) -> bool:
        """Whether a record with this value of the field is wanted; a value of another type never is."""
        if self.present:
            return value is not None
        if self.any_of is not None:
            return _among(value, self.any_of)
        if self.none_of is not None:
            return not _among(value, self.none_of)
        return isinstance(value, (int, float)) and value <= (self.at_most or 0)


def _among(value: Any, known: tuple[str | int | bool, ...]) -> bool:
    # 1 and True are equal in Python, but they are not the same answer.
    return any(type(value) is type(other) and value == other for other in known)


class HeldOut(Parameters):
    """Records that must not be trained on, because an evaluation uses them.

    entry: the catalogue entry that lists them; source: its files, below that entry's folder. field: the field that
    both share, for example the address of the image.
    """

    entry: str = Field(min_length=1)
    source: str = Field(min_length=1)
    field: str = Field(min_length=1)


class QuestionMarks(Parameters):
    """How one text holds a dialogue up to its last question: every turn is preceded by the mark of its speaker, and
    the assistant's mark ends the text."""

    user: str = Field(min_length=1)
    assistant: str = Field(min_length=1)
