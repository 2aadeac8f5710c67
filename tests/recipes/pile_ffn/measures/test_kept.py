from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.recipes.pile_ffn.mini_parameters import mini_parameters
from trackyard.errors import DataError
from trackyard.recipes.pile_ffn.cells import Cell
from trackyard.recipes.pile_ffn.measures.kept import measured
from trackyard.recipes.pile_ffn.results import Result, read_result
from trackyard.recipes.pile_ffn.study import Study
from trackyard.record.code import CodeIdentity

CELL = Cell(arm="baseline", seed=42)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    made = Study(root=tmp_path, parameters=mini_parameters())
    made.__dict__["code"] = CodeIdentity(commit="c" * 40, dirty_digest=None)
    return made


class Measurement:
    """Counts how often it is made."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self) -> Mapping[str, Any]:
        self.made += 1
        return {"nll": float(self.made)}


def take(study: Study, make: Measurement, **changes: Any) -> Result:
    settings: dict[str, Any] = {"inputs": {"a/b": "0" * 64}, "slice_digest": "s", "precision": {}, "device": "cpu"}
    return measured(study, "eval_ppl", CELL, make=make, **(settings | changes))


def test_a_measurement_is_made_once_even_where_dvc_has_removed_its_result(study: Study):
    make = Measurement()
    first = take(study, make)
    study.document("eval_ppl", CELL).unlink()
    assert take(study, make) == first
    assert make.made == 1
    assert read_result(study.document("eval_ppl", CELL), "eval_ppl").body == {"nll": 1.0}


def test_other_inputs_or_other_parameters_are_another_measurement(study: Study):
    make = Measurement()
    take(study, make)
    take(study, make, inputs={"a/b": "1" * 64})
    assert make.made == 2
    changed = study.parameters.model_copy(
        update={"perplexity": study.parameters.perplexity.model_copy(update={"stride": 32})}
    )
    other = Study(root=study.root, parameters=changed)
    other.__dict__["code"] = study.code
    take(other, make)
    assert make.made == 3


def test_how_it_is_computed_is_no_other_measurement(study: Study):
    make = Measurement()
    take(study, make)
    changed = study.parameters.model_copy(
        update={"perplexity": study.parameters.perplexity.model_copy(update={"batch": 1})}
    )
    other = Study(root=study.root, parameters=changed)
    other.__dict__["code"] = study.code
    take(other, make)
    assert make.made == 1


def test_a_measurement_that_was_altered_is_not_taken(study: Study):
    make = Measurement()
    take(study, make)
    (kept,) = (study.runs / "pile_ffn" / "measured" / "eval_ppl").iterdir()
    kept.write_text(kept.read_text().replace("1.0", "0.5"))
    with pytest.raises(DataError, match="altered"):
        take(study, make)
