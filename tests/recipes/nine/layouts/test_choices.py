"""Options written as text are read and never run; answers that no option has are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.errors import DataError
from trackyard.evaluate.tasks.task import Task
from trackyard.recipes.nine.layouts.choices import literal_texts, mmmu_question
from trackyard.recipes.nine.layouts.staged_questions import Asked

TASK = Task(name="mmmu", layout="mmmu", new_tokens=8, metric="mmmu")
ASKED = Asked(id="mmmu:validation:validation_Art_1", which=0, media=(), task=TASK)


@given(st.lists(st.text(), max_size=10))
def test_a_list_written_as_text_comes_back(options: list[str]) -> None:
    assert literal_texts(str(options), question="q", field="options") == tuple(options)


@pytest.mark.parametrize(
    "text",
    ["__import__('os').getcwd()", "[open('x')]", "['a', b]", "('a', 'b')", "{'a': 1}", "[1, 2]", "", "['a'", "'a'"],
)
def test_anything_but_a_list_of_texts_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="no list of texts"):
        literal_texts(text, question="q", field="options")


def test_letters_are_indices_of_the_options() -> None:
    row = {"question": "?", "answer": "C"}
    question = mmmu_question(row, ASKED, ("a", "b", "c"), kind="multiple-choice", subject="Art")
    assert (question.answer_index, question.references) == (2, ())
    assert question.groups == {"kind": "multiple-choice", "subject": "Art"}


@pytest.mark.parametrize(("answer", "kind"), [("D", "multiple-choice"), ("?", "multiple-choice"), ("A", "short")])
def test_an_answer_that_is_no_option_is_refused(answer: str, kind: str) -> None:
    with pytest.raises(DataError, match="mmmu:validation:validation_Art_1"):
        mmmu_question({"question": "?", "answer": answer}, ASKED, ("a", "b", "c"), kind=kind, subject="")


@pytest.mark.parametrize(
    ("answer", "references"),
    [("6", ("6",)), ("['24/7', '3.429']", ("24/7", "3.429")), ("[0, 1)", ("[0, 1)",)), ("[Fe]", ("[Fe]",))],
)
def test_open_answers_are_a_text_or_the_text_of_a_list(answer: str, references: tuple[str, ...]) -> None:
    question = mmmu_question({"question": "?", "answer": answer}, ASKED, (), kind="open", subject="")
    assert (question.references, question.options, question.answer_index) == (references, (), None)
