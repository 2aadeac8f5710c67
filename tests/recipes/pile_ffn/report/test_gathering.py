import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.recipes.pile_ffn.made_results import made_study, write_one, write_study
from trackyard.errors import DataError
from trackyard.evaluate.copies import CopiedResult
from trackyard.recipes.pile_ffn.cells import Cell
from trackyard.recipes.pile_ffn.report.gathering import MEASURED, declared, gather, without_noise
from trackyard.recipes.pile_ffn.results import Data, read_result, write_result
from trackyard.recipes.pile_ffn.study import Study

BOTH = Cell(arm="nonneg_mlp_both", seed=42)
STAGES = ("init", "train", "degrade", *MEASURED, "attack_transfer")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Study:
    study = made_study(tmp_path_factory.mktemp("whole"), seeds=(42, 1337))
    write_study(study)
    return study


@pytest.fixture
def study(whole: Study, tmp_path: Path) -> Study:
    """A copy to spoil."""
    shutil.copytree(whole.artifacts, tmp_path / "artifacts" / "pile_ffn")
    return made_study(tmp_path, seeds=(42, 1337))


def copy_body(study: Study, stage: str, source: str, target: str, keys: tuple[str, ...]) -> None:
    """A result that kept its header and took the numbers of another."""
    cells = declared(study)[stage]
    path = study.document(stage, cells[target])
    mine, theirs = read_result(path, stage), read_result(study.document(stage, cells[source]), stage)
    write_result(path, stage, mine.header, {**mine.body, **{key: theirs.body[key] for key in keys}})


def test_a_whole_study_passes_and_says_how_much_it_examined(whole: Study) -> None:
    gathered = gather(whole)
    assert {stage: len(found) for stage, found in gathered.results.items()} == {
        "init": 5, "train": 10, "degrade": 2, **dict.fromkeys(MEASURED, 13), "attack_transfer": 2,
    }  # fmt: skip
    examined = gathered.examined
    assert (examined.results, examined.inputs, examined.documents) == (5 + 10 + 2 + 5 * 13 + 2, 2 * 13 + 1, 8)
    assert examined.pairs == {"train": 45, "eval_ppl": 78, "attack_uat": 78, "attack_hotflip": 78}
    assert examined.commits == ("c" * 40,)


@pytest.mark.parametrize("stage", STAGES)
def test_a_missing_cell_and_one_too_many(study: Study, stage: str) -> None:
    directory = study.artifacts / stage
    name = sorted(cell.path for cell in declared(study)[stage].values())[-1]
    (directory / name).rename(directory / "stray")
    with pytest.raises(DataError, match=f"{stage} lacks {name}"):
        gather(study)
    shutil.copytree(directory / "stray", directory / name)
    with pytest.raises(DataError, match=f"{stage} holds, beside the declared cells, stray"):
        gather(study)
    shutil.rmtree(directory / "stray")
    gather(study)


def altered(study: Study) -> None:
    path = study.document("attack_uat", BOTH)
    document = json.loads(path.read_text())
    document["body"]["attacks"]["uat"]["mean_delta_nats"] -= 0.05
    path.write_text(json.dumps(document))


def of_another_cell(study: Study) -> None:
    source = study.document("eval_bench", Cell(arm="baseline", seed=42))
    shutil.copy(source, study.document("eval_bench", BOTH))


def mixed_specifications(study: Study) -> None:
    write_one(study, "probe_order", BOTH.name, BOTH, spec_digest="s" * 64)


def outdated(study: Study) -> None:
    for name, cell in declared(study)["eval_ppl"].items():
        write_one(study, "eval_ppl", name, cell, spec_digest="s" * 64)


def other_export(study: Study) -> None:
    (study.export(BOTH) / "fp32" / "model.safetensors").write_text("weights of a later training")


def no_export(study: Study) -> None:
    (study.export(BOTH) / "fp32" / "model.safetensors").unlink()


def weights_not_named(study: Study) -> None:
    other = study.export(Cell(arm="baseline", seed=42)) / "fp32"
    path = study.document("attack_uat", BOTH)
    found = read_result(path, "attack_uat")
    baseline = read_result(study.document("attack_uat", Cell(arm="baseline", seed=42)), "attack_uat")
    assert (other / "model.safetensors").is_file()
    write_result(path, "attack_uat", replace(found.header, inputs=baseline.header.inputs), found.body)


def other_slice_within_a_stage(study: Study) -> None:
    write_one(study, "train", BOTH.name, BOTH, data=Data(id="mini", revision="made", slice_digest="another"))


def other_slice_between_stages(study: Study) -> None:
    for name, cell in declared(study)["eval_bench"].items():
        if cell.seed == 42:
            write_one(study, "eval_bench", name, cell, data=Data(id="mini", revision="made", slice_digest="another"))


def other_budget(study: Study) -> None:
    write_one(study, "train", BOTH.name, BOTH, change=lambda stage, name, body: body.update(tokens=999))


def other_order(study: Study) -> None:
    write_one(study, "train", BOTH.name, BOTH, change=lambda stage, name, body: body.update(plan="another"))


def other_documents(study: Study) -> None:
    write_one(study, "eval_ppl", BOTH.name, BOTH, change=lambda stage, name, body: body["documents"].pop())


def same_losses_on_two_seeds(study: Study) -> None:
    copy_body(study, "eval_ppl", "nonneg_mlp_both-1337", BOTH.name, ("nll", "ppl", "documents"))


def same_losses_of_two_arms(study: Study) -> None:
    copy_body(study, "eval_ppl", "absinit_mlp_both-42", BOTH.name, ("nll", "ppl", "documents"))


def same_attack_on_two_seeds(study: Study) -> None:
    copy_body(study, "attack_hotflip", "nonneg_mlp_both-1337", BOTH.name, ("attacks",))


def same_history(study: Study) -> None:
    copy_body(study, "train", "nonneg_mlp_both-1337", BOTH.name, ("history",))


def same_checkpoint(study: Study) -> None:
    copy_body(study, "train", "baseline-42", BOTH.name, ("checkpoint",))


def same_weights(study: Study) -> None:
    shutil.copy(study.export(Cell(arm="baseline", seed=42)) / "fp32" / "model.safetensors", study.export(BOTH) / "fp32")
    for stage in MEASURED:
        write_one(study, stage, BOTH.name, BOTH)
    write_one(study, "train", BOTH.name, BOTH)


REFUSALS: list[tuple[Callable[[Study], None], type[DataError], str]] = [
    (altered, DataError, "was altered after it was written"),
    (of_another_cell, DataError, "is of arm 'baseline' and seed 42"),
    (mixed_specifications, DataError, "spec_digest of the study"),
    (outdated, DataError, "params.yaml gives"),
    (other_export, DataError, "nonneg_mlp_both/42/fp32/model.safetensors is .* read "),
    (no_export, DataError, "nonneg_mlp_both/42/fp32/model.safetensors is absent"),
    (weights_not_named, DataError, "names no weights of nonneg_mlp_both-42"),
    (other_slice_within_a_stage, DataError, "slice_digest of seed 42"),
    (other_slice_between_stages, DataError, "has slice_digest another"),
    (other_budget, DataError, "tokens of seed 42"),
    (other_order, DataError, "plan of seed 42"),
    (other_documents, DataError, "is over 7 documents and 700 targets"),
    (same_losses_on_two_seeds, CopiedResult, "agree to the last bit on 8 of 8"),
    (same_losses_of_two_arms, CopiedResult, "agree to the last bit on 8 of 8"),
    (same_attack_on_two_seeds, CopiedResult, "agree to the last bit on 32 of 32"),
    (same_history, CopiedResult, "agree to the last bit on 3 of 3"),
    (same_checkpoint, CopiedResult, "both scored checkpoint"),
    (same_weights, CopiedResult, "both scored checkpoint"),
]


@pytest.mark.parametrize(("spoil", "kind", "sentence"), REFUSALS, ids=[spoil.__name__ for spoil, _, _ in REFUSALS])
def test_what_may_not_stand_in_one_table(
    study: Study, spoil: Callable[[Study], None], kind: type[DataError], sentence: str
) -> None:
    gather(study)
    spoil(study)
    with pytest.raises(kind, match=sentence):
        gather(study)


def test_a_few_equal_numbers_are_no_copy(study: Study) -> None:
    theirs = read_result(study.document("eval_ppl", Cell(arm="baseline", seed=42)), "eval_ppl").body["documents"]

    def equal(stage: str, name: str, body: dict) -> None:
        body["documents"][:3] = theirs[:3]

    write_one(study, "eval_ppl", BOTH.name, BOTH, change=equal)
    assert gather(study).examined.pairs["eval_ppl"] == 78


def test_a_control_without_noise_is_the_baseline_and_says_so(study: Study) -> None:
    control, baseline = Cell(arm="degraded_mlp_both", seed=42), Cell(arm="baseline", seed=42)
    shutil.copy(study.export(baseline) / "fp32" / "model.safetensors", study.export(control) / "fp32")
    for stage in MEASURED:
        write_one(study, stage, control.name, control)
    for stage, key in (("eval_ppl", "documents"), ("attack_uat", "attacks"), ("attack_hotflip", "attacks")):
        copy_body(study, stage, baseline.name, control.name, (key,))
    with pytest.raises(CopiedResult):
        gather(study)
    write_one(study, "degrade", control.name, control, change=lambda stage, name, body: body.update(sigma=0.0))
    assert without_noise(gather(study).results) == [control.name]
