"""The train stage: counted before step 1, audited, resumable to the bit, and nothing of Gemma touched."""

from __future__ import annotations

import csv
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.recipes.datacomp.tiny_study import PARAMETERS, SAMPLES, silent, study_at, tiny_study
from trackyard.errors import DataError, IdentityError, StoppedEarly
from trackyard.models.theworld.parameters import expected_trainable
from trackyard.recipes.datacomp.base.loading import base_facts, load_gemma
from trackyard.recipes.datacomp.cells import Cell
from trackyard.recipes.datacomp.results import read_result
from trackyard.recipes.datacomp.study import Study
from trackyard.recipes.datacomp.training.jobs import world_job
from trackyard.recipes.datacomp.training.telling import run_metrics
from trackyard.recipes.datacomp.training.training import train
from trackyard.recipes.reporting.grouping import arm_tags
from trackyard.record.facts import events
from trackyard.record.spool import read_spool

WORLD, SOFT = Cell(name="world", seed=42), Cell(name="soft_prompt", seed=42)
STEPS = 12


def weights(study: Study, cell: Cell) -> dict[str, torch.Tensor]:
    return load_file(study.export(cell) / "model.safetensors")


def once_at_the_first_step() -> Callable[[str], None]:
    """Says nothing, and sends this process a stop signal when it hears of the first log point."""
    told: list[str] = []

    def say(line: str) -> None:
        if line.startswith("train     step") and not told:
            told.append(line)
            os.kill(os.getpid(), signal.SIGTERM)

    return say


def test_row_21_half_and_half_is_the_whole_bit_for_bit(trained: Study, tmp_path: Path) -> None:
    parted = tiny_study(tmp_path)
    with pytest.raises(StoppedEarly) as raised:
        train(parted, WORLD, once_at_the_first_step(), PARAMETERS)
    assert raised.value.exit_code == 75
    assert raised.value.fix == "dvc repro pipelines/datacomp/dvc.yaml:train@world-42"
    train(parted, WORLD, silent, PARAMETERS)
    whole, halves = weights(trained, WORLD), weights(parted, WORLD)
    assert whole.keys() == halves.keys()
    assert all(torch.equal(whole[name], halves[name]) for name in whole)
    body, again = (read_result(study.document("train", WORLD), "train").body for study in (trained, parted))
    assert [row["train_nll"] for row in body["history"]] == [row["train_nll"] for row in again["history"]]
    assert body["resumes"] == []
    assert len(again["resumes"]) == 1
    # Control: another seed is another run.
    assert world_job(trained, Cell(name="world", seed=1337)).spec.run_id != world_job(trained, WORLD).spec.run_id


def test_the_result_counts_what_was_trained_and_on_what(trained: Study) -> None:
    body = read_result(trained.document("train", WORLD), "train").body
    expected = expected_trainable(trained.parameters.world, (16, 16, 16), 32)
    assert body["tensors"] == expected
    assert body["counts"] == {"world": sum(expected.values())}
    assert body["expected"] == sum(expected.values())
    assert {name: tensor.numel() for name, tensor in weights(trained, WORLD).items()} == expected
    assert body["steps"] == STEPS
    assert body["draws"] == STEPS * 8 == SAMPLES * 4
    assert body["filled"] == 0
    job = world_job(trained, WORLD)
    tokenizer_tokens = [
        int((job.source.prompts.build(job.training.question, answer=row.caption).labels != -100).sum())
        for row in job.source.samples
    ]
    assert body["supervised_tokens"] == 4 * sum(tokenizer_tokens)
    assert [row["step"] for row in body["history"]] == list(range(1, STEPS + 1))
    with (trained.place("train", WORLD) / "history.csv").open() as file:
        assert len(list(csv.DictReader(file))) == STEPS


def test_what_a_run_tells_of_itself(trained: Study) -> None:
    body, spec = read_result(trained.document("train", SOFT), "train").body, world_job(trained, SOFT).spec
    spools = sorted((trained.runs / "datacomp" / "train" / spec.run_id / "spool").glob("*.jsonl"))
    told = {path.name: read_spool(path) for path in spools}
    first = {spools[0].name: told[spools[0].name]}
    # The place of the run and its data are known while it trains, and what it came to when it is over.
    tags = {key: value for event in events(first, "tag") for key, value in event["values"].items()}
    assert tags.pop("mlflow.user")
    assert tags == arm_tags(trained.group, "soft_prompt", 42)
    data = {event["name"]: (event["digest"], event["context"]) for event in events(first, "dataset")}
    assert data == {name: (digest, "training") for name, digest in spec.snapshots.items()}
    last_values = {key: value for event in events(told, "metrics") for key, value in event["values"].items()}
    found = run_metrics(body)
    assert {name: last_values[name] for name in found} == found
    assert found["train/supervised_tokens"] == body["supervised_tokens"]
    assert [(event["name"], event["path"]) for event in events(told, "model")] == [
        ("theworld-soft-prompt", "artifacts/datacomp/export/soft_prompt/42")
    ]


def test_the_first_update_has_a_rate_and_the_last_one_too(trained: Study) -> None:
    rates = [row["lr"] for row in read_result(trained.document("train", WORLD), "train").body["history"]]
    peak, warmup = trained.parameters.training.learning_rate, trained.parameters.training.warmup_steps
    assert rates[0] == pytest.approx(peak / warmup)
    assert max(rates) == pytest.approx(peak)
    assert rates[warmup - 1] == max(rates)
    assert 0 < rates[-1] < rates[-2]


def test_every_audit_is_in_the_result(trained: Study) -> None:
    for cell in (WORLD, SOFT):
        audits = read_result(trained.document("train", cell), "train").body["audits"]
        assert [audit["audit"] for audit in audits] == [
            "count", "in_graph", "frozen", "branch_connected", "frozen", "movement",
        ]  # fmt: skip
        graph, start, branch, end, movement = audits[1:]
        assert graph["step"] == 1
        assert all(total > 0 for total in graph["first_moments"].values())
        assert start["digest"] == end["digest"]
        assert start["tensors"] > 30
        assert all(row["changed"] > 0 for row in movement["tensors"])
        changes = branch["changes"]
        assert changes.keys() == {"another", "zeros", "noise"}
        assert all(change > 1e-4 for change in changes.values()) is branch["reads"] is (cell == WORLD)
    assert set(changes.values()) == {0.0}


def test_both_runs_of_a_seed_see_the_same_samples_and_soft_prompt_trains_free_vectors(trained: Study) -> None:
    assert world_job(trained, WORLD).plan_fingerprint == world_job(trained, SOFT).plan_fingerprint
    assert {name: tuple(tensor.shape) for name, tensor in weights(trained, SOFT).items()} == {"world.vectors": (4, 32)}


def test_gemma_stays_as_it_was(trained: Study) -> None:
    files = {path.name for path in trained.gemma.iterdir()}
    assert files == set(base_facts(trained).gemma_files)
    model = load_gemma(trained, torch.device("cpu"))
    assert not any(weight.requires_grad for weight in model.parameters())


def test_checkpoints_hold_nothing_but_what_is_trained(trained: Study) -> None:
    run = trained.runs / "datacomp" / "train" / world_job(trained, WORLD).spec.run_id
    total = sum(weights(trained, WORLD)[name].numel() for name in weights(trained, WORLD))
    newest = sorted((run / "checkpoints").iterdir())[-1]
    size = sum(path.stat().st_size for path in newest.rglob("*") if path.is_file())
    # Masters and two moments in fp32; manifests and states of generators beside them.
    assert 12 * total <= size < 12 * total + 60_000


def test_a_sample_without_a_latent_stops_the_run(tmp_path: Path) -> None:
    study = tiny_study(tmp_path)
    shard = next(study.latents.glob("*.f16"))
    shard.unlink()
    with pytest.raises(DataError):
        train(study, WORLD, silent, PARAMETERS)


def test_an_expected_count_that_is_wrong_stops_before_the_first_step(trained: Study, tmp_path: Path) -> None:
    shutil.copytree(trained.root, tmp_path, dirs_exist_ok=True)
    study = study_at(tmp_path, {"training.expected_trainable": 33_920})
    with pytest.raises(IdentityError, match=r"33,921 trained parameters.*: \+1"):
        train(study, WORLD, silent, PARAMETERS)
