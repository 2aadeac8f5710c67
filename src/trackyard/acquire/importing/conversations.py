"""What is said in a record: its questions, answers, options, points or dialogues become conversations.

Source: molmo2 spec sections 3 (points, options) and 7.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from string import ascii_uppercase
from typing import Any

from trackyard.acquire.importing.fields import OTHER_TYPE, checked_number, checked_text, checked_texts, lookup, present
from trackyard.acquire.importing.mapping import ImportMapping
from trackyard.acquire.importing.records import UnusableRecord
from trackyard.row import Turn

NO_QUESTION = "no question"
NO_ANSWER = "no answer"
NOT_AN_OPTION = "answer is not one of the options"
LENGTHS_DIFFER = "lists of different lengths"
NO_CONVERSATION = "no conversation"
TURNS_BROKEN = "turns that do not alternate from user to assistant"

SYSTEM_TURN = "system turn put before the first user text"
"""A row has no system turn, so its text opens the first user text, as "System: …" on lines of its own."""

Plain = Callable[[str], str]
"""Turns the marks of media in a text into plain words."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """meta: entries of this conversation under keys of the row's meta. points: (x, y) in the mapping's unit, which
    become fractions once the image is read. notes: what was changed on the way."""

    turns: tuple[Turn, ...]
    meta: Mapping[str, Any] = field(default_factory=dict)
    points: tuple[tuple[float, float], ...] | None = None
    notes: tuple[str, ...] = ()


def conversations_of(mapping: ImportMapping, record: Mapping[str, Any], plain: Plain) -> list[Conversation]:
    """Every conversation of a record, at least one. Raises UnusableRecord."""
    if mapping.captions is not None:
        found = list(_captions(mapping, record, plain))
    elif mapping.messages is not None:
        found = [_dialogue(turns, mapping.messages, plain) for turns in _dialogues(record, mapping.messages)]
    else:
        found = [_exchange(mapping, values, plain) for values in _each(mapping, record)]
    if not found:
        raise UnusableRecord(NO_CONVERSATION, "its lists are empty")
    return found


def _captions(mapping: ImportMapping, record: Mapping[str, Any], plain: Plain) -> Iterator[Conversation]:
    name = mapping.captions or ""
    value = present(record, name)
    captions = [plain(text) for text in checked_texts([value] if isinstance(value, str) else value, name)]
    if not any(captions):
        raise UnusableRecord(NO_ANSWER, f"{name!r} holds no text in {len(captions)} captions")
    for caption in captions:
        yield Conversation(_pair(mapping.prompt or "", caption))


def _pair(question: str, answer: str) -> tuple[Turn, Turn]:
    return Turn(role="user", content=question), Turn(role="assistant", content=answer)


def _dialogues(record: Mapping[str, Any], name: str) -> list[Any]:
    value = present(record, name)
    if not isinstance(value, list):
        raise UnusableRecord(OTHER_TYPE, f"{name!r} holds a {type(value).__name__}, not a list of messages")
    return value if value and isinstance(value[0], list) else [value] if value else []


def _dialogue(messages: Any, name: str, plain: Plain) -> Conversation:
    if not isinstance(messages, list) or not all(isinstance(message, Mapping) for message in messages):
        raise UnusableRecord(OTHER_TYPE, f"{name!r} holds something else than lists of {{role, content}}")
    said = [(message.get("role"), plain(checked_text(message.get("content"), name))) for message in messages]
    notes: tuple[str, ...] = ()
    if len(said) > 1 and said[0][0] == "system" and said[1][0] == "user":
        said = [("user", f"System: {said[0][1]}\n{said[1][1]}"), *said[2:]]
        notes = (SYSTEM_TURN,)
    roles = [role for role, _ in said]
    if not roles or roles != ["user", "assistant"] * (len(roles) // 2):
        raise UnusableRecord(TURNS_BROKEN, f"{name!r}: {', '.join(map(str, roles[:8]))}")
    for role, text in said:
        if not text:
            raise UnusableRecord(NO_QUESTION if role == "user" else NO_ANSWER, f"{name!r} has an empty {role} text")
    turns = [
        turn for user, assistant in zip(said[::2], said[1::2], strict=True) for turn in _pair(user[1], assistant[1])
    ]
    return Conversation(tuple(turns), notes=notes)


def _each(mapping: ImportMapping, record: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Values of the fields of one conversation after another, by field name."""
    names = {name for name in (mapping.question, mapping.answer, mapping.answer_letter, mapping.answer_index) if name}
    names |= {name for name in (mapping.options, mapping.label, mapping.points and mapping.points.field) if name}
    values = {name: lookup(record, name) for name in names}
    leader = mapping.question or mapping.label
    count = len(values[leader]) if leader is not None and isinstance(values[leader], list) else None
    if count is None:
        # An empty answer is told apart later: a test set may have none.
        for name in names - {mapping.answer, mapping.answer_letter, mapping.answer_index}:
            present(record, name)
        shared = values | ({mapping.context: lookup(record, mapping.context)} if mapping.context else {})
        yield {name: value for name, value in shared.items() if value is not None or name in record}
        return
    for name, value in values.items():
        if not isinstance(value, list) or len(value) != count:
            held = f"{len(value)} values" if isinstance(value, list) else f"a {type(value).__name__}"
            raise UnusableRecord(LENGTHS_DIFFER, f"{name!r} holds {held}, {leader!r} {count}")
    for number in range(count):
        each = {name: value[number] for name, value in values.items()}
        yield each | ({mapping.context: lookup(record, mapping.context)} if mapping.context else {})


def _exchange(mapping: ImportMapping, values: Mapping[str, Any], plain: Plain) -> Conversation:
    question = _question(mapping, values, plain)
    if mapping.points is not None:
        label = plain(checked_text(_given(values, mapping.label), mapping.label)) if mapping.label else ""
        points = tuple(_points(_given(values, mapping.points.field), mapping.points.field))
        return Conversation(_pair(question, ""), {"label": label} if mapping.label else {}, points)
    name = mapping.answer or mapping.answer_letter or mapping.answer_index or ""
    answer = _answer(mapping, values, name)
    if mapping.options is None:
        if mapping.question_marks is not None:
            return _marked(mapping, question, plain(answer))
        return Conversation(_pair(question, plain(answer)))
    options = checked_texts(_given(values, mapping.options), mapping.options)
    letters = list(ascii_uppercase[: len(options)])
    if mapping.answer_index is not None:
        choices = [str(number) for number in range(len(options))]
    else:
        choices = letters if mapping.answer_letter is not None else options
    if answer not in choices:
        raise UnusableRecord(NOT_AN_OPTION, f"{answer!r} of {len(options)} options")
    meta = {"options": [plain(option) for option in options], "answer_index": choices.index(answer)}
    # The feed writes the answer from the options, in the form that the template it draws asks for.
    return Conversation(_pair(question, ""), meta)


def _given(values: Mapping[str, Any], name: str) -> Any:
    return present(values, name)


def _question(mapping: ImportMapping, values: Mapping[str, Any], plain: Plain) -> str:
    if mapping.question is None:
        return mapping.prompt or ""
    question = plain(checked_text(_given(values, mapping.question), mapping.question))
    if not question:
        raise UnusableRecord(NO_QUESTION, f"{mapping.question!r} is empty")
    before = values.get(mapping.context) if mapping.context else None
    context = plain(checked_text(before, mapping.context or "")) if before is not None else ""
    return f"{context}\n{question}" if context else question


def _answer(mapping: ImportMapping, values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    if mapping.first_answer and value is not None:
        texts = checked_texts(value, name)
        value = texts[0] if texts else ""
    answer = "" if value is None else checked_text(value, name)
    if not answer:
        raise UnusableRecord(NO_ANSWER, f"{name!r} is {'empty' if name in values else 'absent'}")
    return answer


def _marked(mapping: ImportMapping, text: str, answer: str) -> Conversation:
    """A dialogue that is written into one text up to its last question."""
    marks = mapping.question_marks
    if marks is None:
        raise ValueError("a mapping without question_marks has no marked question")
    parts = re.split(f"({re.escape(marks.user)}|{re.escape(marks.assistant)})", text)
    speakers, texts = parts[1::2], [part.strip() for part in parts[2::2]]
    wanted = [marks.user, marks.assistant] * (len(speakers) // 2)
    if parts[0].strip() or not speakers or speakers != wanted or texts[-1] or not all(texts[:-1]):
        raise UnusableRecord(TURNS_BROKEN, f"{mapping.question!r}: {', '.join(speakers[:8]) or 'no mark'}")
    said = [*texts[:-1], answer]
    return Conversation(
        tuple(turn for user, assistant in zip(said[::2], said[1::2], strict=True) for turn in _pair(user, assistant))
    )


def _points(value: Any, name: str) -> Iterator[tuple[float, float]]:
    """(x, y) of a list of {x, y} or of {x: [...], y: [...]}, finite numbers. Out of range is the feed's to clamp."""
    if isinstance(value, Mapping) and isinstance(value.get("x"), list) and isinstance(value.get("y"), list):
        if len(value["x"]) != len(value["y"]):
            raise UnusableRecord(LENGTHS_DIFFER, f"{name!r} holds {len(value['x'])} x and {len(value['y'])} y")
        value = [{"x": x, "y": y} for x, y in zip(value["x"], value["y"], strict=True)]
    if not isinstance(value, list):
        raise UnusableRecord(OTHER_TYPE, f"{name!r} holds a {type(value).__name__}, not points")
    for point in value:
        if not isinstance(point, Mapping):
            raise UnusableRecord(OTHER_TYPE, f"{name!r} holds a {type(point).__name__} among its points")
        yield checked_number(present(point, "x"), f"{name}.x"), checked_number(present(point, "y"), f"{name}.y")
