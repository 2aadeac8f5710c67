"""The train stage from proved inputs to a verified export, stopped and continued. Row 14 of the pile-ffn spec."""

from __future__ import annotations

import csv
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.recipes.pile_ffn.tiny_study import FAMILIES, VARIANTS, tiny_study
from trackyard.errors import DataError, EnvironmentLacking, IdentityError, StoppedEarly
from trackyard.models.nonneg_variants import Declaration
from trackyard.recipes.pile_ffn.arms.declaring import init
from trackyard.recipes.pile_ffn.arms.jobs import arm_job, named_job
from trackyard.recipes.pile_ffn.arms.original import CELL
from trackyard.recipes.pile_ffn.arms.telling import run_metrics
from trackyard.recipes.pile_ffn.arms.training import train
from trackyard.recipes.pile_ffn.arms.validating import val_nll
from trackyard.recipes.pile_ffn.cells import Cell
from trackyard.recipes.pile_ffn.measures.exports import export_inputs, load_exact
from trackyard.recipes.pile_ffn.parameters import Family
from trackyard.recipes.pile_ffn.results import read_result
from trackyard.recipes.pile_ffn.study import Study
from trackyard.recipes.pile_ffn.text.token_sets import slice_digest
from trackyard.recipes.reporting.grouping import arm_tags
from trackyard.record.facts import events
from trackyard.record.spool import read_spool
from trackyard.train.audit import AuditError
from trackyard.train.checkpoint import COMPLETE

PARAMETERS = Path("params.yaml")


def silent(_line: str) -> None:
    """Nobody listens."""


def prepared(root: Path, family: Family = "gpt_neox", **changes: Any) -> Study:
    study = tiny_study(root, family, **changes)
    init(study, silent)
    return study


def last(family: Family, form: str = "nonneg") -> Cell:
    return Cell(arm=f"{form}_{VARIANTS[family][1]}", seed=42)


def trained(study: Study, cell: Cell, say: Callable[[str], None] = silent) -> dict[str, Any]:
    train(study, cell, say, PARAMETERS)
    return dict(read_result(study.document("train", cell), "train").body)


def weights(study: Study, cell: Cell, form: str = "fp32") -> dict[str, torch.Tensor]:
    return load_file(study.export(cell) / form / "model.safetensors")


def once_at_the_first_step() -> Callable[[str], None]:
    """Says nothing, and sends this process a stop signal when it hears of the first log point."""
    told: list[str] = []

    def say(line: str) -> None:
        if line.startswith("train") and not told:
            told.append(line)
            os.kill(os.getpid(), signal.SIGTERM)

    return say


@pytest.mark.parametrize("family", FAMILIES)
def test_row_14_half_and_half_is_the_whole_bit_for_bit(tmp_path: Path, family: Family) -> None:
    cell = last(family)
    whole, parted = prepared(tmp_path / "whole", family), prepared(tmp_path / "parted", family)
    expected = trained(whole, cell)
    with pytest.raises(StoppedEarly) as raised:
        trained(parted, cell, once_at_the_first_step())
    assert raised.value.exit_code == 75
    assert raised.value.fix == f"dvc repro pipelines/pile_ffn/dvc.yaml:train@{cell.name}"
    run = parted.runs / "pile_ffn" / "train" / arm_job(parted, cell).spec.run_id
    assert (run / "checkpoints" / "step-00000003" / COMPLETE).exists()
    assert not parted.document("train", cell).exists()
    found = trained(parted, cell)
    assert (expected["resumes"], found["resumes"]) == ([], [{"attempt": 2, "step": 3}])
    assert steps_of(found) == steps_of(expected)
    assert found["audit"] == expected["audit"]
    assert found["final"] == expected["final"]
    for form in ("fp32", "bf16"):
        ours, theirs = weights(parted, cell, form), weights(whole, cell, form)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def steps_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The history without how fast it was."""
    assert [row["step"] for row in body["history"]] == [1, 2, 3, 4, 5, 6]
    return [{key: value for key, value in row.items() if key != "tokens_per_s"} for row in body["history"]]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return prepared(tmp_path_factory.mktemp("train"))


def test_what_a_cell_puts_out(study: Study) -> None:
    cell, lines = last("gpt_neox"), list[str]()
    body = trained(study, cell, lines.append)
    header = read_result(study.document("train", cell), "train").header
    assert (header.arm, header.variant, header.seed) == (cell.arm, "mlp_both", 42)
    assert header.data.slice_digest == slice_digest(study, 0)
    assert header.precision == {"weights": "fp32", "moments": "fp32", "compute": "fp32"}
    assert export_inputs(study, CELL).items() <= header.inputs.items()
    assert "artifacts/pile_ffn/tokens/train-00/manifest.json" in header.inputs
    assert body.keys() >= {"steps", "tokens", "final", "history", "audit", "resumes", "checkpoint"}
    assert (body["steps"], body["tokens"]) == (6, 6 * 4 * 32)
    # The exported model is one that the stock class loads, and the loss at the end is its own.
    model = load_exact(study, cell)
    assert body["final"]["val_nll"] == pytest.approx(val_nll(study, model), abs=1e-6)
    assert body["history"][-1]["val_nll"] == body["final"]["val_nll"]
    assert body["history"][-1]["train_nll"] == body["final"]["train_nll"]
    # 10 % of 6 steps are one of warm-up, then a line to 0.
    rates = [row["lr"] for row in body["history"]]
    assert rates == pytest.approx([0.0, 1e-3, 8e-4, 6e-4, 4e-4, 2e-4])
    assert {row["dtype"] for row in body["audit"]} == {"float32"}
    assert len(body["audit"]) == sum(1 for _ in model.parameters())
    assert min(row["changed"] for row in body["audit"] if row["constrained"]) >= 0.99
    assert [row["step"] for row in body["movement"]] == [6]
    assert [row["where"] for row in body["verified"]] == ["fp32", "bf16"]
    assert {(row["examined"], row["passed"]) for row in body["verified"]} == {(4, True)}
    assert min(row["min"] for row in body["verified"]) >= 0
    assert (study.root / body["checkpoint"]["path"] / COMPLETE).exists()
    assert {path.name for path in (study.export(cell) / "bf16").iterdir()} >= {"tokenizer.json", "model.safetensors"}
    with open(study.place("train", cell) / "history.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["train_nll"]) for row in rows] == [row["train_nll"] for row in body["history"]]
    assert any(line.startswith("arm       nonneg mlp_both: 4 matrices of 4 expected") for line in lines)


def test_what_a_run_tells_of_itself(study: Study) -> None:
    cell = last("gpt_neox")
    body = trained(study, cell)
    spec = arm_job(study, cell).spec
    spools = sorted((study.runs / "pile_ffn" / "train" / spec.run_id / "spool").glob("*.jsonl"))
    told = {path.name: read_spool(path) for path in spools}
    first = {spools[0].name: told[spools[0].name]}
    # The place of the run and its data are known while it trains, and what it came to when it is over.
    tags = {key: value for event in events(first, "tag") for key, value in event["values"].items()}
    assert tags.pop("mlflow.user")
    assert tags == arm_tags(study.group, cell.arm, 42)
    data = {event["name"]: (event["digest"], event["context"]) for event in events(first, "dataset")}
    assert data == {
        "train-00": (spec.snapshots["train-00"], "training"),
        "val": (spec.snapshots["val"], "evaluation"),
    }
    last_values = {key: value for event in events(told, "metrics") for key, value in event["values"].items()}
    found = run_metrics(body)
    assert {name: last_values[name] for name in found} == found
    assert found["train/tokens"] == 6 * 4 * 32
    assert found["train/first_loss"] == body["history"][0]["train_nll"]
    assert [(event["name"], event["path"]) for event in events(told, "model")] == [
        ("pile-ffn-nonneg-mlp-both", f"artifacts/pile_ffn/export/{cell.arm}/42")
    ]


def test_a_finished_run_is_put_out_again_and_not_trained_again(study: Study) -> None:
    cell, lines = last("gpt_neox"), list[str]()
    first = trained(study, cell)
    before = weights(study, cell)
    (study.export(cell) / "fp32" / "model.safetensors").unlink()
    study.document("train", cell).unlink()
    again = trained(study, cell, lines.append)
    assert again == first
    assert not [line for line in lines if line.startswith("train ")]
    assert all(torch.equal(value, before[name]) for name, value in weights(study, cell).items())


def test_the_baseline_constrains_nothing_and_trains_everything(study: Study) -> None:
    body = trained(study, Cell(arm="baseline", seed=42))
    assert body["verified"] == []
    assert {row["constrained"] for row in body["audit"]} == {False}
    assert min(row["changed"] for row in body["audit"]) > 0
    assert body["plan"] == trained(study, last("gpt_neox"))["plan"]


def test_signs_are_kept_and_magnitudes_move(study: Study) -> None:
    cell = last("gpt_neox", "signfrozen")
    trained(study, cell)
    before, after = weights(study, CELL), weights(study, cell)
    for name in before:
        if ".mlp.dense" in name and name.endswith("weight"):
            assert torch.equal(before[name] < 0, after[name] < 0)
            assert (before[name] != after[name]).float().mean() > 0.9


def test_an_early_audit_besides_the_last(tmp_path: Path) -> None:
    study = prepared(tmp_path, training={"steps": 22, "window": 16, "save_every": 30}, engine={"log_every": 11})
    body = trained(study, last("gpt_neox"))
    assert [row["step"] for row in body["movement"]] == [20, 22]
    assert {row["step"] for row in body["audit"]} == {20, 22}
    assert all(0 <= row["small_share"] <= 1 for row in body["movement"])


def test_a_rate_that_moves_nothing_is_caught(tmp_path: Path) -> None:
    """V lies around -4, where fp32 is spaced by 5e-7."""
    study = prepared(tmp_path)
    cell = last("gpt_neox")
    study.parameters.training.learning_rates[cell.arm] = 1e-12
    with pytest.raises(AuditError, match="not moved"):
        trained(study, cell)
    assert not study.document("train", cell).exists()


def test_another_start_than_the_proved_one_is_refused(tmp_path: Path) -> None:
    study = prepared(tmp_path)
    path = study.export(CELL) / "fp32" / "config.json"
    path.write_text(path.read_text() + "\n")
    with pytest.raises(DataError, match=r"config.json has blake3 .*, expected"):
        trained(study, Cell(arm="baseline", seed=42))


def test_a_declaration_of_another_model_is_refused(study: Study) -> None:
    cell = last("gpt_neox", "absinit")
    job = arm_job(study, cell)
    assert job.declaration is not None
    body = job.declaration.to_json()
    body["matrices"][0]["shape"] = [1, 1]
    object.__setattr__(job, "declaration", Declaration.of_json(body))
    with pytest.raises(IdentityError, match="the model that the run starts with constrains something else"):
        job.checked_start()
    object.__setattr__(job, "declaration", None)
    with pytest.raises(IdentityError, match="declared is None"):
        job.checked_start()


def test_other_ranks_come_to_the_same_run_by_its_name(study: Study) -> None:
    cell = last("gpt_neox")
    assert named_job(study, cell.name).spec == arm_job(study, cell).spec
    assert named_job(study, "untouched").spec.stage == "untouched"


def test_a_training_without_room_for_its_checkpoints_is_refused_before_its_first_step(tmp_path: Path) -> None:
    study = prepared(tmp_path, engine={"keep_checkpoints": 10**6})
    with pytest.raises(EnvironmentLacking, match=r"1000001 checkpoints of .* do not fit"):
        trained(study, last("gpt_neox"))
    assert not list(study.runs.glob("pile_ffn/train/*/checkpoints/*"))
