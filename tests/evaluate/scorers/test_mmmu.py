"""MMMU's parser: the spec's examples, what the official code reads, and that nothing is ever guessed."""

from __future__ import annotations

import random
from pathlib import Path
from string import ascii_uppercase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.evaluate.scorers.mmmu import (
    mmmu,
    mmmu_expected,
    mmmu_open,
    parsed_choice,
    parsed_open,
)
from trackyard.schema import read_document

OFFICIAL = Path(__file__).parent / "official" / "mmmu.json"
COLOURS = ("red", "light green", "dark blue", "black")


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        # The examples of the spec.
        ("maybe B or D", "D"),
        ("It is the color dark blue in this picture here", "C"),
        ("A. red", None),
        ("unsure", None),
        # Brackets before letters on their own, both before texts; the last one counts.
        ("(A) or B", "A"),
        ("(B) is wrong, it is (A)", "A"),
        ("not C , but B is the dark blue one here", "B"),
        ("one sees red next to black, and nothing else there", "D"),
        ("B", "B"),
        ("B.", "B"),
        ("'B'!", "B"),
        ("(E)", None),
        ("b", None),
        ("dark blue", None),
        ("", None),
        # Marks are taken off one kind after the other, so what lies beneath a later kind stays.
        ("B,.", None),
    ],
)
def test_choices(answer: str, letter: str | None) -> None:
    number = parsed_choice(answer, COLOURS)
    assert (None if number is None else "ABCD"[number]) == letter


@pytest.mark.parametrize(
    ("answer", "reference", "right"),
    [
        # The examples of the spec.
        ("So the answer is 3.14 m.", "3.1415", True),
        ("x = 7", "7", True),
        ("no idea", "4", False),
        ("It is 1,234,567 in all", "1234567", True),
        ("therefore 2.5e3 J", "2500", True),
        ("-3", "-3.001", True),
        ("x = 7\nso it is no", "7", False),
        ("The result is mitosis", "Mitosis", True),
        ("abc", "b", False),
        ("a b", "b", True),
        ("", "4", False),
        ("anything", "", False),
    ],
)
def test_open_answers(answer: str, reference: str, right: bool) -> None:
    assert mmmu_open(answer, [reference]) == right
    assert mmmu_open(answer, ["nothing like it", reference]) == right


def test_what_an_open_answer_states() -> None:
    assert parsed_open("It is 5.\nSo the answer is 3.14 m.") == [5.0, "3.14 m", 3.14]
    assert parsed_open("x = y") == [" y", "y "]
    assert parsed_open("no lead here") == ["no lead here"]
    assert parsed_open("it is :") == ["it is :"]


def test_what_the_official_code_reads() -> None:
    rows = read_document(OFFICIAL, "trackyard-official-mmmu/1", fix="python -m benchmarks.agreement_mmmu")["answers"]
    assert len(rows) == 200
    assert {bool(row["options"]) for row in rows} == {True, False}
    for row in rows:
        if row["options"]:
            number = parsed_choice(row["answer"], row["options"])
            assert (None if number is None else ascii_uppercase[number]) == row["read"], row
            index = ascii_uppercase.index(row["accepted"][0])
            assert mmmu(row["answer"], row["options"], index) == row["right"], row
        else:
            # The official list is in no order.
            assert sorted(map(repr, parsed_open(row["answer"]))) == sorted(map(repr, row["read"])), row
            assert mmmu(row["answer"], (), None, row["accepted"]) == row["right"], row
    # The control: both outcomes are there, and a parser that reads nothing would be found out.
    assert {row["right"] for row in rows} == {True, False}
    assert 20 < sum(row["read"] is None for row in rows) < 80


def test_an_unread_choice_is_wrong_or_worth_a_guess_on_average() -> None:
    assert mmmu("unsure", COLOURS, 1) == 0
    assert mmmu_expected("unsure", COLOURS, 1) == 1 / 4
    assert mmmu_expected("B", COLOURS, 1) == 1
    assert mmmu_expected("C", COLOURS, 1) == 0
    assert mmmu_expected("", COLOURS, 1) == 0
    assert mmmu_expected("no idea", (), None, ["4"]) == 0
    assert mmmu_expected("4", (), None, ["4"]) == 1


def test_sanity_of_gold_empty_and_shuffled_answers() -> None:
    rng = random.Random(0)
    right = [rng.randrange(4) for _ in range(2_000)]
    shuffled = rng.sample(right, len(right))
    assert all(mmmu("ABCD"[index], COLOURS, index) == 1 for index in right)
    assert not any(mmmu("", COLOURS, index) for index in right)
    scores = [mmmu("ABCD"[given], COLOURS, index) for given, index in zip(shuffled, right, strict=True)]
    assert 0.2 < sum(scores) / len(scores) < 0.3
    values = [f"{number}.25" for number in range(1_000, 1_200)]
    assert all(mmmu_open(value, [value]) for value in values)
    assert not any(mmmu_open(value, [other]) for value, other in zip(values, values[1:] + values[:1], strict=True))


@given(st.text(max_size=60), st.lists(st.text(max_size=8), max_size=26))
def test_nothing_is_guessed(answer: str, options: list[str]) -> None:
    chosen = parsed_choice(answer, options)
    assert chosen == parsed_choice(answer, options)
    assert chosen is None or 0 <= chosen < len(options)
    assert parsed_open(answer) == parsed_open(answer) or "nan" in answer.lower()
