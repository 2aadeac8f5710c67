"""Errors keep their three parts, also across processes, and their exit codes are a frozen public surface."""

from __future__ import annotations

import pickle
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard import errors
from trackyard.errors import CutOff, TrackyardError

EXIT_CODES = {
    "TrackyardError": 1,
    "ConfigError": 2,
    "EnvironmentLacking": 3,
    "DataError": 1,
    "CheckpointError": 1,
    "IdentityError": 2,
    "StoppedEarly": 75,
}
CLASSES = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, TrackyardError)]
PLAIN = [cls for cls in CLASSES if cls is not CutOff]
"""Those whose exit code is the same for every error."""


def test_the_classes_and_their_exit_codes_are_these() -> None:
    assert {cls.__name__: cls.exit_code for cls in PLAIN} == EXIT_CODES


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 138)])
def test_what_a_signal_cut_off_ends_as_a_program_that_it_killed(number: int, code: int) -> None:
    back = pickle.loads(pickle.dumps(CutOff(what="a", why="b", fix="c", number=number)))
    assert type(back) is CutOff
    assert (back.what, back.why, back.fix, back.exit_code) == ("a", "b", "c", code)


def test_the_exit_codes_are_those_of_the_design() -> None:
    named = {name: value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    assert named == {
        "EXIT_DONE": 0,
        "EXIT_FAILED": 1,
        "EXIT_USAGE": 2,
        "EXIT_ENVIRONMENT": 3,
        "EXIT_STOPPED_EARLY": 75,
    }


def test_the_message_is_three_lines() -> None:
    error = TrackyardError(what="minutes=0", why="0 means no limit", fix="set minutes to 30")
    assert str(error) == "what: minutes=0\nwhy:  0 means no limit\nfix:  set minutes to 30"


@pytest.mark.parametrize("cls", PLAIN)
@given(parts=st.tuples(st.text(), st.text(), st.text()))
def test_errors_cross_process_boundaries_whole(cls: type[TrackyardError], parts: tuple[str, str, str]) -> None:
    what, why, fix = parts
    back = pickle.loads(pickle.dumps(cls(what=what, why=why, fix=fix)))
    assert type(back) is cls
    assert (back.what, back.why, back.fix) == parts


def test_a_part_cannot_be_left_out_or_given_by_position() -> None:
    with pytest.raises(TypeError, match="fix"):
        TrackyardError(what="a", why="b")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="positional"):
        TrackyardError("a", "b", "c")  # type: ignore[misc]
