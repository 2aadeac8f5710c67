"""Results say what they were made from, and refuse edits."""

from pathlib import Path

import pytest

from tests.recipes.datacomp.mini_parameters import changed, mini_parameters
from trackyard.errors import DataError
from trackyard.recipes.datacomp.cells import Cell
from trackyard.recipes.datacomp.results import read_result, write_result
from trackyard.recipes.datacomp.study import Study

CELL = Cell(name="world", seed=42)


def written(root: Path) -> Path:
    study = Study(root=Path(__file__).resolve().parents[3], parameters=mini_parameters())
    header = study.header("eval_vsr", CELL, inputs={"a": "b"}, device="cpu", wall_s=1.5, vae_digest="c")
    path = root / "result.json"
    write_result(path, "eval_vsr", header, {"n": 3})
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    found = read_result(written(tmp_path), "eval_vsr")
    assert found.body == {"n": 3}
    assert (found.header.cell, found.header.seed, found.header.base.gemma) == ("world", 42, "tiny-gemma3@made")
    assert found.header.base.vae_digest == "c"


def test_an_edit_another_stage_and_an_absent_file_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    with pytest.raises(DataError, match="has schema 'trackyard-datacomp-eval-vsr/1', expected"):
        read_result(path, "eval_blink")
    path.write_text(path.read_text().replace('"n": 3', '"n": 4'))
    with pytest.raises(DataError, match="was altered after it was written"):
        read_result(path, "eval_vsr")
    with pytest.raises(DataError, match="does not exist"):
        read_result(tmp_path / "none.json", "eval_vsr")


def test_the_run_id_follows_from_specification_and_inputs(tmp_path: Path) -> None:
    study = Study(root=Path(__file__).resolve().parents[3], parameters=mini_parameters())
    other = Study(root=study.root, parameters=changed({"evaluation.made_items": 40}))

    def run_id(of: Study, inputs: dict[str, str]) -> str:
        return of.header("eval_vsr", CELL, inputs=inputs, device="cpu", wall_s=0.0).run_id

    assert run_id(study, {"a": "b"}) == run_id(study, {"a": "b"})
    assert len({run_id(study, {"a": "b"}), run_id(study, {"a": "c"}), run_id(other, {"a": "b"})}) == 3
