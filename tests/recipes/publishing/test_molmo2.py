"""The card states the shares of the plan that the export was trained with, and of no other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trackyard.digest import digest_file
from trackyard.errors import DataError
from trackyard.plan.plan import DOCUMENT, SCHEMA
from trackyard.recipes.publishing.molmo2 import _plan_of
from trackyard.record.lineage.document import PlanFact


def test_a_plan_that_was_swapped_is_not_stated(tmp_path: Path) -> None:
    path = tmp_path / DOCUMENT
    document = {"schema": SCHEMA, "summary": {"entries": [{"dataset": "a", "row_share": 1.0}]}}
    path.write_text(json.dumps(document))
    fact = PlanFact(fingerprint="f" * 64, path="plan", files={DOCUMENT: digest_file(path)})
    assert _plan_of(path, fact, "again") == document["summary"]
    path.write_text(json.dumps(document).replace("1.0", "0.5"))
    with pytest.raises(DataError, match="is another plan than the one of this export") as caught:
        _plan_of(path, fact, "dvc repro stage1")
    assert "dvc repro stage1" in caught.value.fix
