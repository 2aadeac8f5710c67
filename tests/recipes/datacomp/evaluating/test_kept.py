"""A result is taken where everything that decides it is the same, and made anew for any difference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.recipes.datacomp.mini_parameters import changed
from trackyard.errors import DataError
from trackyard.recipes.datacomp.cells import Cell
from trackyard.recipes.datacomp.evaluating.kept import measured
from trackyard.recipes.datacomp.study import Study

CELL = Cell(name="world", seed=42)


class Counted:
    """How often a body was made."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> dict[str, Any]:
        self.times += 1
        return {"value": self.times}


def study_at(root: Path, **changes: Any) -> Study:
    return Study(root=root, parameters=changed(changes))


def take(study: Study, made: Counted, *, cell: Cell = CELL, inputs: dict[str, str] | None = None) -> int:
    found = measured(study, "eval_vsr", cell, inputs=inputs or {"a": "b"}, make=made, device="cpu", vae_digest=None)
    return int(found.body["value"])


def test_it_is_made_once_and_put_back_where_it_was_removed(tmp_path: Path) -> None:
    made, study = Counted(), study_at(tmp_path)
    assert take(study, made) == 1
    study.document("eval_vsr", CELL).unlink()
    assert take(study, made) == 1
    assert study.document("eval_vsr", CELL).exists()


def test_inputs_parameters_code_and_cells_each_decide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, study = Counted(), study_at(tmp_path)
    take(study, made)
    assert take(study, made, inputs={"a": "c"}) == 2
    assert take(study, made, cell=Cell(name="world", seed=1)) == 3
    assert take(study_at(tmp_path, **{"evaluation.resamples": 123}), made) == 4
    assert take(study_at(tmp_path, **{"evaluation.batch": 5}), made) == 1
    monkeypatch.setenv("TRACKYARD_COMMIT", "cd" * 20)
    assert take(study_at(tmp_path), made) == 5


def test_one_that_was_altered_is_refused(tmp_path: Path) -> None:
    study = study_at(tmp_path)
    take(study, Counted())
    kept = next((study.runs / "datacomp" / "measured" / "eval_vsr").iterdir())
    kept.write_text(kept.read_text().replace('"value":1', '"value":9').replace('"value": 1', '"value": 9'))
    with pytest.raises(DataError, match="altered"):
        take(study, Counted())


def test_nothing_is_kept_of_what_failed(tmp_path: Path) -> None:
    study = study_at(tmp_path)

    def broken() -> dict[str, Any]:
        raise NameError("x")

    with pytest.raises(NameError):
        measured(study, "eval_vsr", CELL, inputs={}, make=broken, device="cpu", vae_digest=None)
    assert not study.document("eval_vsr", CELL).exists()
    assert not (study.runs / "datacomp" / "measured" / "eval_vsr").exists()
