from pathlib import Path

import pytest

from tests.recipes.pile_ffn.tiny_study import tiny_study
from trackyard.errors import EnvironmentLacking
from trackyard.recipes.pile_ffn.cells import Cell
from trackyard.recipes.pile_ffn.measures import evaluating, order, scoring
from trackyard.recipes.pile_ffn.results import read_result
from trackyard.recipes.pile_ffn.study import Study

UNTOUCHED = Cell(arm="untouched", seed=None)
STAGES = ("eval_ppl", "probe_order", "eval_bench")


def test_a_stage_that_was_cut_off_goes_on_with_the_part_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tiny_study(tmp_path)

    def absent(study: Study, cell: Cell, say: object) -> None:
        raise EnvironmentLacking(what="no items", why="they were not fetched", fix="fetch them")

    with monkeypatch.context() as patched:
        patched.setattr(evaluating, "benchmarks", absent)
        with pytest.raises(EnvironmentLacking):
            evaluating.evaluate(study, UNTOUCHED, lambda _: None)
    assert not study.document("eval_bench", UNTOUCHED).exists()
    for module in (scoring, order):
        monkeypatch.setattr(module, "load_exact", None)
    lines: list[str] = []
    evaluating.evaluate(study, UNTOUCHED, lines.append)
    assert all(line.startswith("untouched: ") for line in lines)
    results = [read_result(study.document(stage, UNTOUCHED), stage) for stage in STAGES]
    weights = [
        {digest for path, digest in result.header.inputs.items() if path.endswith(".safetensors")} for result in results
    ]
    assert weights[0]
    assert weights == [weights[0]] * len(STAGES)
