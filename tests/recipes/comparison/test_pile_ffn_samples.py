"""Samples of a Pile-FFN run: those measured on its own weights, wherever they are kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from tests.recipes.pile_ffn.made_results import DOCUMENTS, Change, inputs, made_study, run_directory, write_one
from trackyard.digest import digest_bytes
from trackyard.errors import DataError
from trackyard.recipes.comparison.pile_ffn_samples import ATTACKS, BENCHMARKS, PERPLEXITY, pile_ffn_samples
from trackyard.recipes.comparison.samples import Samples
from trackyard.recipes.pile_ffn.cells import Cell
from trackyard.recipes.pile_ffn.study import Study
from trackyard.record.comparing.summary import RunSummary, read_summary

CELL = Cell(arm="baseline", seed=42)
HOTFLIP = ("hotflip_one_shot", "hotflip_greedy", "random_flips", "query")
LINES = b"".join(
    json.dumps({"doc_id": number, "item": "i", "task": "hellaswag", "metrics": {"acc": 0.0, "acc_norm": number % 2}})
    .encode() + b"\n"
    for number in range(6)
)  # fmt: skip


SETS = ("test", "uat_opt", "uat_eval", "flip")


def completed(stage: str, _name: str, body: dict[str, Any]) -> None:
    """What the stages say besides."""
    if stage == BENCHMARKS:
        body["samples"] = {"blake3": digest_bytes(LINES), "path": "samples.jsonl", "items": 6}
    for block in body.get("attacks", {}).values():
        block["config"] = {"budget": {"flips": 10}, "seed": CELL.seed, "search": "fp32"}


def measure(study: Study, stage: str, *, of: Change = completed, **texts: str) -> None:
    """The result of a stage for the cell. texts: digests of sets of text, where they are not the usual ones."""
    read = inputs(study, CELL) | {
        (study.tokens / name / "manifest.json").relative_to(study.root).as_posix(): texts.get(name, name)
        for name in SETS
    }
    write_one(study, stage, CELL.name, CELL, change=of, inputs=read)


def measured(root: Path) -> tuple[Study, RunSummary]:
    """One cell, trained and measured."""
    study = made_study(root, seeds=(42,))
    tokens = study.tokens / "test" / "manifest.json"
    tokens.parent.mkdir(parents=True)
    tokens.write_text("the test set")
    export = study.export(CELL) / "fp32"
    export.mkdir(parents=True)
    (export / "model.safetensors").write_text("weights")
    for stage in ("train", PERPLEXITY, BENCHMARKS, *ATTACKS):
        measure(study, stage)
    (study.place(BENCHMARKS, CELL) / "samples.jsonl").write_bytes(LINES)
    run = run_directory(study, CELL)
    shutil.copytree(export, run / "final" / "fp32")
    return study, read_summary(run)


def means(samples: Samples) -> dict[str, float]:
    return {name: fmean(of.scores.values.values()) for name, of in samples.scores.items()}


def test_the_mean_of_the_samples_is_the_metric(tmp_path: Path) -> None:
    study, run = measured(tmp_path)
    found = pile_ffn_samples(run, tmp_path)
    assert found.lacks == ()
    perplexity = json.loads(study.document(PERPLEXITY, CELL).read_text())["body"]
    attack = json.loads(study.document("attack_uat", CELL).read_text())["body"]["attacks"]["uat"]
    assert means(found)["test/nll"] == pytest.approx(perplexity["nll"], abs=1e-12)
    assert means(found)["attack/uat/delta_nats"] == pytest.approx(attack["mean_delta_nats"], abs=1e-12)
    assert means(found)["bench/hellaswag"] == 0.5
    assert len(found.scores["test/nll"].scores.values) == DOCUMENTS


def test_results_of_other_weights_are_not_its_own_but_kept_ones_are(tmp_path: Path) -> None:
    study, run = measured(tmp_path)
    # The cell was trained again: artifacts/ speak of other weights now, and what was measured before is kept.
    kept = study.runs / "pile_ffn" / "measured" / PERPLEXITY / f"{CELL.name}-0123.json"
    kept.parent.mkdir(parents=True)
    shutil.copyfile(study.document(PERPLEXITY, CELL), kept)
    (study.export(CELL) / "fp32" / "model.safetensors").write_text("other weights")
    for stage in (PERPLEXITY, BENCHMARKS, *ATTACKS):
        measure(study, stage)
    found = pile_ffn_samples(run, tmp_path)
    assert list(found.scores) == ["test/nll"]
    assert found.lacks == tuple(f"no result of {stage} was measured on its weights" for stage in (BENCHMARKS, *ATTACKS))


def test_what_was_asked_is_the_texts_the_items_and_how_was_searched(tmp_path: Path) -> None:
    study, run = measured(tmp_path)

    def asked() -> dict[str, str]:
        return {name: of.asked for name, of in pile_ffn_samples(run, tmp_path).scores.items()}

    def seeded(stage: str, name: str, body: dict[str, Any]) -> None:
        completed(stage, name, body)
        for block in body["attacks"].values():
            block["config"]["seed"] = 7

    def bolder(stage: str, name: str, body: dict[str, Any]) -> None:
        completed(stage, name, body)
        for block in body["attacks"].values():
            block["config"]["budget"]["flips"] = 11

    def finer(stage: str, name: str, body: dict[str, Any]) -> None:
        completed(stage, name, body)
        body["scoring"]["stride"] //= 2

    def other_items(stage: str, name: str, body: dict[str, Any]) -> None:
        completed(stage, name, body)
        body["tasks"]["hellaswag"]["task_hash"] = "u" * 64

    before = asked()
    for stage, changes, differ in (
        ("attack_hotflip", {"of": seeded}, set[str]()),
        ("attack_hotflip", {"of": bolder}, {f"attack/{name}/delta_nats" for name in HOTFLIP}),
        ("attack_hotflip", {"flip": "other"}, {f"attack/{name}/delta_nats" for name in HOTFLIP}),
        ("attack_uat", {"uat_opt": "other"}, {f"attack/{name}/delta_nats" for name in ("uat", "random_trigger")}),
        (PERPLEXITY, {"test": "other"}, {"test/nll"}),
        (PERPLEXITY, {"of": finer}, {"test/nll"}),
        (BENCHMARKS, {"of": other_items}, {"bench/hellaswag"}),
    ):
        measure(study, stage, **changes)
        after = asked()
        assert {name for name in before if before[name] != after[name]} == differ
        measure(study, stage)


def test_a_run_without_weights_or_of_another_stage_says_so(tmp_path: Path) -> None:
    _, run = measured(tmp_path)
    shutil.rmtree(run.path / "final")
    assert "no result can be told to be of it" in pile_ffn_samples(run, tmp_path).lacks[0]


def test_altered_items_are_refused(tmp_path: Path) -> None:
    study, run = measured(tmp_path)
    (study.place(BENCHMARKS, CELL) / "samples.jsonl").write_bytes(LINES[:-1] + b" ")
    with pytest.raises(DataError, match="gone or was altered") as raised:
        pile_ffn_samples(run, tmp_path)
    assert "eval_bench/baseline-42-abc.json, then" in raised.value.fix
