"""The fingerprint of a plan follows from its document, whichever kind it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trackyard.digest import digest_json
from trackyard.errors import DataError
from trackyard.plan.plan import DOCUMENT, SCHEMA, fingerprint
from trackyard.plan.recorded import fingerprint_of, recorded_plan
from trackyard.schema import write_document


def test_a_plan_of_packs_follows_from_inputs_and_arrays(tmp_path: Path) -> None:
    body = {"fingerprint": "as stated", "inputs": {"seed": 1}, "files": {"rows.npy": "d" * 64}, "summary": {}}
    write_document(tmp_path / DOCUMENT, SCHEMA, body)
    found = recorded_plan(tmp_path)
    assert found.fingerprint == fingerprint({"seed": 1}, {"rows.npy": "d" * 64})
    assert found.files == {"rows.npy": "d" * 64}


def test_a_plan_of_one_document_follows_from_it_and_its_schema(tmp_path: Path) -> None:
    plan = {"steps": 3, "seed": 1}
    write_document(tmp_path / DOCUMENT, "trackyard-windows/1", {"fingerprint": "as stated", "plan": plan})
    found = recorded_plan(tmp_path)
    assert found.fingerprint == fingerprint_of("trackyard-windows/1", plan)
    assert found.fingerprint == digest_json({"schema": "trackyard-windows/1", "steps": 3, "seed": 1})
    assert found.fingerprint != fingerprint_of("trackyard-windows/2", plan)
    assert found.files == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        json.dumps({"schema": "x/1", "plan": {}, "more": 1}),
        json.dumps({"schema": "x/1", "fingerprint": "f", "plan": [1]}),
        json.dumps({"schema": SCHEMA, "fingerprint": "f", "inputs": {}, "files": ["rows.npy"], "summary": {}}),
        json.dumps({"schema": SCHEMA, "fingerprint": "f", "inputs": {}, "summary": {}}),
    ],
)
def test_anything_else_is_no_plan(tmp_path: Path, text: str) -> None:
    (tmp_path / DOCUMENT).write_text(text)
    with pytest.raises(DataError, match=r"plan\.json"):
        recorded_plan(tmp_path)


def test_an_absent_plan_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no readable plan"):
        recorded_plan(tmp_path)
