"""Documents come back as written; any other schema, damage or absence is refused with the caller's fix."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trackyard.errors import DataError
from trackyard.schema import read_document, write_document

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
BODY = st.dictionaries(
    TEXT.filter(lambda key: key != "schema"),
    st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT | st.lists(TEXT, max_size=3),
    max_size=5,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(body=BODY)
def test_what_was_written_is_read_back(tmp_path: Path, body: dict[str, Any]) -> None:
    path = tmp_path / "document.json"
    write_document(path, "plan/1", body)
    assert read_document(path, "plan/1", fix="f") == {"schema": "plan/1", **body}


def test_the_schema_comes_first_and_the_file_is_readable(tmp_path: Path) -> None:
    write_document(tmp_path / "a.json", "plan/1", {"name": "ü"})
    assert (tmp_path / "a.json").read_text() == '{\n  "schema": "plan/1",\n  "name": "ü"\n}\n'


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"schema": "plan/2"}', "has schema 'plan/2', expected 'plan/1'"),
        (b'{"schema": "manifest/1"}', "has schema 'manifest/1', expected 'plan/1'"),
        (b"{}", "has schema None, expected 'plan/1'"),
        (b'["plan/1"]', "has schema None, expected 'plan/1'"),
        (b'{"schema": "plan/1"', "is not valid JSON"),
        (b"", "is not valid JSON"),
        (b'"\xff"', "is not valid JSON"),
    ],
)
def test_anything_else_is_refused_with_the_fix(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "document.json"
    path.write_bytes(content)
    with pytest.raises(DataError) as raised:
        read_document(path, "plan/1", fix="run `trackyard plan`")
    assert raised.value.what.startswith(str(path))
    assert told in raised.value.what
    assert raised.value.fix == "run `trackyard plan`"


def test_an_absent_document_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist") as raised:
        read_document(tmp_path / "absent.json", "plan/1", fix="f")
    assert raised.value.why == "it is the plan/1 that this step reads"


def test_a_body_that_json_cannot_say_leaves_the_old_document(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_document(path, "result/1", {"loss": 1.5})
    with pytest.raises(ValueError, match="Out of range"):
        write_document(path, "result/1", {"loss": float("nan")})
    assert json.loads(path.read_text())["loss"] == 1.5
