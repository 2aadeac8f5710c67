"""One document on stdout, sizes as disks are sold, failures with their exit code."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.catalog.entries import HubSource
from trackyard.cli.printing import Failures, print_json, size, tell
from trackyard.errors import ConfigError, DataError, EnvironmentLacking, StoppedEarly, TrackyardError

FACTOR = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, "unknown"), (0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (999_994, "999.99 kB"),
        (999_995, "1.00 MB"), (38_474_000_000, "38.47 GB"), (99_470_000_000, "99.47 GB"), (5 * 10**15, "5,000.00 TB"),
    ],
)  # fmt: skip
def test_sizes(count: int | None, text: str) -> None:
    assert size(count) == text


@given(st.integers(0, 10**17))
def test_a_size_is_near_its_number_and_below_a_thousand_of_its_unit(count: int) -> None:
    found = re.fullmatch(r"([\d,.]+) (\w+)", size(count))
    assert found is not None
    number, unit = float(found[1].replace(",", "")), found[2]
    assert abs(number * FACTOR[unit] - count) <= 0.0051 * FACTOR[unit]
    assert number < 1000 or unit == "TB"


@given(st.integers(0, 10**15), st.integers(0, 10**15))
def test_a_larger_number_is_no_smaller_size(one: int, other: int) -> None:
    def value(count: int) -> float:
        number, unit = size(count).split()
        return float(number.replace(",", "")) * FACTOR[unit]

    small, large = sorted((one, other))
    assert value(small) <= value(large)


@dataclass(frozen=True)
class Thing:
    path: Path
    parts: tuple[int, ...]
    source: HubSource


def test_a_document_of_plain_values(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"thing": Thing(Path("a/b"), (1, 2), HubSource(repo="o/n")), "é": None})
    assert json.loads(capsys.readouterr().out) == {
        "thing": {"path": "a/b", "parts": [1, 2], "source": {"repo": "o/n"}}, "é": None,
    }  # fmt: skip


@pytest.mark.parametrize(("value", "error"), [({"x": {1, 2}}, TypeError), ({"x": float("nan")}, ValueError)])
def test_what_is_no_json_is_never_printed_in_part(
    value: object, error: type[Exception], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(error):
        print_json(value)
    assert capsys.readouterr().out == ""


def _of(cls: type[TrackyardError]) -> TrackyardError:
    return cls(what="this", why="that", fix="do it")


def test_errors_go_to_stderr_with_three_parts(capsys: pytest.CaptureFixture[str]) -> None:
    tell(_of(DataError))
    tell(_of(StoppedEarly))
    captured = capsys.readouterr()
    assert captured.out == ""
    parts = "what: this\nwhy:  that\nfix:  do it\n"
    assert captured.err == f"error: DataError\n{parts}stopped: StoppedEarly\n{parts}"


@pytest.mark.parametrize(
    ("classes", "code"),
    [
        ([], 0), ([DataError], 1), ([ConfigError], 2), ([EnvironmentLacking, EnvironmentLacking], 3),
        ([EnvironmentLacking, ConfigError], 1), ([StoppedEarly], 75), ([ConfigError, StoppedEarly], 75),
    ],
)  # fmt: skip
def test_the_exit_code_of_several_failures(classes: list[type[TrackyardError]], code: int) -> None:
    failures = Failures()
    for cls in classes:
        failures.add(_of(cls), entry="e")
    assert failures.exit_code == code
    assert len(failures) == len(classes)
    assert [(one["entry"], one["error"]) for one in failures.document()] == [("e", cls.__name__) for cls in classes]
