"""What is said in a record, from each shape that the known sets have."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.acquire.importing.conversations import SYSTEM_TURN, Conversation, conversations_of
from trackyard.acquire.importing.mapping import ImportMapping
from trackyard.acquire.importing.records import UnusableRecord

BASE = {"dataset": "own", "licence": "x", "task": "user_qa", "source": "a.jsonl"}


def of(record: dict[str, Any], **fields: Any) -> list[Conversation]:
    return conversations_of(ImportMapping.model_validate(BASE | fields), record, str.strip)


def texts(found: list[Conversation]) -> list[list[str]]:
    return [[turn.content for turn in conversation.turns] for conversation in found]


def test_lists_of_questions_and_answers() -> None:
    record = {"q": ["one?", "two?"], "a": ["1", "2"]}
    assert texts(of(record, question="q", answer="a")) == [["one?", "1"], ["two?", "2"]]
    # The two ways in which `datasets` stores a list of {question, answer}.
    for pairs in ({"question": ["x?"], "answer": ["y"]}, [{"question": "x?", "answer": "y"}]):
        found = of({"qa": pairs}, question="qa.question", answer="qa.answer")
        assert texts(found) == [["x?", "y"]]


def test_accepted_answers_and_context() -> None:
    record = {"q": "how much?", "a": ["12", "twelve"], "hint": "See the axis."}
    fields = {"question": "q", "answer": "a", "first_answer": True, "context": "hint"}
    assert texts(of(record, **fields)) == [["See the axis.\nhow much?", "12"]]
    assert texts(of(record | {"hint": ""}, **fields)) == [["how much?", "12"]]
    with pytest.raises(UnusableRecord, match="no answer"):
        of(record | {"a": []}, **fields)


def test_options_by_number() -> None:
    fields = {"question": "q", "options": "o", "answer_index": "a"}
    (found,) = of({"q": "q", "o": ["x", "y"], "a": 1}, **fields)
    assert found.meta == {"options": ["x", "y"], "answer_index": 1}
    for wrong in (2, -1, "y", 0.5):
        with pytest.raises(UnusableRecord, match="not one of the options"):
            of({"q": "q", "o": ["x", "y"], "a": wrong}, **fields)


TURN = {"user": {"role": "user", "content": "u"}, "assistant": {"role": "assistant", "content": "a"}}
TURN["system"] = {"role": "system", "content": "s"}


@given(st.lists(st.sampled_from(["user", "assistant", "system"]), max_size=6))
def test_dialogues(roles: list[str]) -> None:
    spoken = roles[1:] if roles[:2] == ["system", "user"] else roles
    good = bool(roles) and spoken == ["user", "assistant"] * (len(spoken) // 2)
    try:
        (found,) = of({"m": [TURN[role] for role in roles]}, messages="m")
    except UnusableRecord:
        assert not good
        return
    assert good
    assert [turn.role for turn in found.turns] == spoken
    assert found.turns[0].content == ("System: s\nu" if spoken != roles else "u")
    assert found.notes == ((SYSTEM_TURN,) if spoken != roles else ())


def test_several_dialogues_and_empty_turns() -> None:
    pair = [TURN["user"], TURN["assistant"]]
    assert len(of({"m": [pair, pair]}, messages="m")) == 2
    for broken in ([TURN["user"], {"role": "assistant", "content": " "}], ["text"], "text", [{"role": "user"}], []):
        with pytest.raises(UnusableRecord):
            of({"m": broken}, messages="m")


MARKS = {"user": "[USER]", "assistant": "[ASSISTANT]"}


def test_marked_questions() -> None:
    fields = {"question": "q", "answer": "a", "question_marks": MARKS}
    text = "[USER] one? [ASSISTANT] first. [USER] two?\n[ASSISTANT]"
    assert texts(of({"q": text, "a": "second."}, **fields)) == [["one?", "first.", "two?", "second."]]
    for wrong in ("two?", "[USER] two?", "[ASSISTANT] x [USER]", "say [USER] two? [ASSISTANT]", "[USER] [ASSISTANT]"):
        with pytest.raises(UnusableRecord, match="do not alternate"):
            of({"q": wrong, "a": "a"}, **fields)


POINTS = {"points": {"field": "p", "unit": "percent"}, "label": "l"}


@given(st.lists(st.tuples(st.floats(-200, 200), st.floats(-200, 200)), max_size=5))
def test_both_shapes_of_points_say_the_same(points: list[tuple[float, float]]) -> None:
    rows = [{"x": x, "y": y} for x, y in points]
    columns = {"x": [x for x, _ in points], "y": [y for _, y in points]}
    for shape in (rows, columns):
        (found,) = of({"p": shape, "l": "cup"}, **POINTS)
        assert found.points == tuple(points)  # out of range too: the feed clamps, and counts
    several = of({"p": [columns, rows], "l": ["cup", "jug"]}, **POINTS)
    assert [conversation.meta["label"] for conversation in several] == ["cup", "jug"]
    assert all(conversation.points == tuple(points) for conversation in several)


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        ([{"x": float("nan"), "y": 1}], "number that is not finite"),
        ([{"x": 1, "y": float("inf")}], "number that is not finite"),
        ({"x": [1], "y": []}, "lists of different lengths"),
        ([{"x": "1", "y": 2}], "field of another type"),
        ([{"x": 1}], "field missing"),
        ([1], "field of another type"),
        ("1,2", "field of another type"),
        (None, "field missing"),
    ],
    ids=str,
)
def test_points_that_are_none(points: Any, reason: str) -> None:
    with pytest.raises(UnusableRecord) as caught:
        of({"p": points, "l": "cup"}, **POINTS)
    assert caught.value.reason == reason


def test_lengths_must_agree() -> None:
    with pytest.raises(UnusableRecord, match="'a' holds 1 values, 'q' 2"):
        of({"q": ["1", "2"], "a": ["1"]}, question="q", answer="a")
    with pytest.raises(UnusableRecord, match="its lists are empty"):
        of({"q": [], "a": []}, question="q", answer="a")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("qaxyrole"), inner, max_size=3),
    max_leaves=8,
)
SHAPES: tuple[dict[str, Any], ...] = (
    {"question": "q", "answer": "a"},
    {"question": "q", "options": "o", "answer_index": "a", "context": "x"},
    {"captions": "a"},
    {"messages": "a"},
    {"points": {"field": "a", "unit": "pixel"}, "label": "q"},
    {"question": "q.a", "answer": "q.q", "first_answer": True},
    {"question": "q", "answer": "a", "question_marks": MARKS},
)


@given(st.dictionaries(st.sampled_from(["q", "a", "o", "x"]), JSON), st.sampled_from(SHAPES))
def test_any_record_is_a_conversation_or_a_reason(record: dict[str, Any], shape: dict[str, Any]) -> None:
    try:
        found = of(record, **shape)
    except UnusableRecord as problem:
        found = []
        reason = problem.reason
    else:
        reason = ""
    assert bool(found) != bool(reason)
    for conversation in found:
        assert [turn.role for turn in conversation.turns[:2]] == ["user", "assistant"]
