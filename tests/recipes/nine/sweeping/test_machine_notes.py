"""Notes of processes that timed: there before the first time, of every process, and refused when altered or absent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.recipes.nine.sweeping.test_turning import model
from trackyard.errors import DataError
from trackyard.recipes.nine.sweeping.machine_notes import PREFIX, Notes, read_notes


def begun(folder: Path) -> Notes:
    found: Any = model()
    return Notes.begin(folder, found)


def test_a_note_is_there_before_anything_is_timed_and_keeps_what_differs(tmp_path: Path) -> None:
    notes = begun(tmp_path)
    (read,) = read_notes(tmp_path)
    assert read == notes
    assert (read.circumstances.kind, read.different) == ("cpu", [])
    notes.differs("a:b:1")
    notes.differs("a:b:2")
    assert read_notes(tmp_path)[0].different == ["a:b:1", "a:b:2"]


def test_every_process_has_its_own(tmp_path: Path) -> None:
    first, second = begun(tmp_path), begun(tmp_path)
    first.differs("a:b:1")
    assert first.path != second.path
    assert sorted(len(notes.different) for notes in read_notes(tmp_path)) == [0, 1]


def test_times_without_a_machine_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="on what machine"):
        read_notes(tmp_path)


def test_an_altered_note_is_refused(tmp_path: Path) -> None:
    notes = begun(tmp_path)
    body = json.loads(notes.path.read_text())
    body["circumstances"]["device"] = "another processor"
    notes.path.write_text(json.dumps(body))
    assert notes.path.name.startswith(PREFIX)
    with pytest.raises(DataError, match="was altered"):
        read_notes(tmp_path)
