"""The main job as a new user does it: clone, pull, reproduce, look. One training serves every test of this file."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.system.agreement import disagreements
from tests.system.browser import chromium, wait_for
from tests.system.commands import BIN, ROOT, digests, environment, run
from tests.system.everything import Everything
from trackyard.record.metrics_file import read_metrics

# By how much the trained model must beat both the untrained one and chance (seed 0; see the README's table).
COUNTING_MARGIN = 0.15
CHOICE_MARGIN = 0.25
POINTING_MARGIN = 0.15

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def clone(everything: Everything) -> Path:
    """A clone of the last commit, with the environment of these tests, and the three stages trained in it."""
    return everything.clone


def metrics(clone: Path, stage: str) -> dict[str, float]:
    return read_metrics(clone / "artifacts" / "molmo2" / stage / "metrics.json")[stage]


def test_pull_brings_identical_bytes_without_a_network(tmp_path: Path) -> None:
    clone = tmp_path / "trackyard"
    run(["git", "clone", "--quiet", str(ROOT), str(clone)], ROOT)
    assert not (clone / "data").exists()
    run(["dvc", "pull", "data.dvc"], clone)
    first = digests(clone / "data")
    assert len(first) > 36
    shutil.rmtree(clone / "data")
    run(["dvc", "pull", "data.dvc"], clone)
    assert digests(clone / "data") == first
    assert "proved" in run(["trackyard", "data", "verify"], clone).stdout


def test_the_generator_makes_the_rows_of_the_shipped_snapshot(clone: Path) -> None:
    from trackyard.acquire.mini.datasets import MINI
    from trackyard.snapshot.reader import open_snapshot

    snapshot = open_snapshot(clone / "data" / "mini", None)
    assert set(snapshot) == set(MINI)
    compared = 0
    for name, dataset in snapshot.items():
        assert set(dataset.splits) == set(MINI[name].sizes)
        for split in dataset.splits:
            for stored, generated in zip(dataset.iterate(split), MINI[name].rows(split), strict=True):
                assert stored == generated, f"{name}/{split}: row {stored.id}"
                compared += 1
    assert compared > 15_000


def test_demo(clone: Path) -> None:
    """The trained model beats the untrained one and chance in counting, multiple choice and pointing."""
    untrained, trained = metrics(clone, "stage1"), metrics(clone, "stage3")
    for metric, margin in (
        ("counting", COUNTING_MARGIN),
        ("multiple_choice", CHOICE_MARGIN),
        ("pointing", POINTING_MARGIN),
    ):
        name = f"validation/{metric}"
        score, start, chance = trained[name], untrained[f"start/{name}"], trained[f"chance/{name}"]
        assert trained[f"examples/{name}"] >= 96
        assert score >= start + margin, f"{metric}: {score:.3f} against {start:.3f} untrained"
        assert score >= chance + margin, f"{metric}: {score:.3f} against {chance:.3f} by chance"
    table = run(["trackyard", "table", "molmo2"], clone).stdout
    for row in ("steps", "tokens", "padding", "validation loss", "counting accuracy", "pointing F1", "next: make ui"):
        assert row in table


def test_metrics_json_is_what_mlflow_shows(clone: Path) -> None:
    for stage in ("stage1", "stage2", "stage3"):
        (run_directory,) = (clone / "runs" / "molmo2" / stage).iterdir()
        values = metrics(clone, stage)
        assert len(values) > 15
        assert disagreements(values, run_directory, clone / "mlflow.db") == []
        # Control: another number would be seen.
        assert len(disagreements(values | {"train/steps": 1.0}, run_directory, clone / "mlflow.db")) == 1


def test_repro_again_does_nothing(clone: Path) -> None:
    done = run(["dvc", "repro", "stage2"], clone)
    assert "Running stage" not in done.stdout
    assert "up to date" in done.stdout


def test_a_learning_rate_of_stage2_makes_stage2_and_later_stale(clone: Path) -> None:
    path = clone / "params.yaml"
    original = path.read_text()
    head, stage2 = original.split("  stage2:\n")
    changed = stage2.replace("learning_rate: 1.5e-3", "learning_rate: 1.4e-3", 1)
    assert changed != stage2
    path.write_text(head + "  stage2:\n" + changed)
    try:
        text = run(["dvc", "repro", "--dry", "stage3"], clone).stdout
    finally:
        path.write_text(original)
    assert "Stage 'stage1' didn't change" in text
    assert "Running stage 'stage2'" in text
    # A dry run makes no export, so DVC cannot yet say that stage 3 follows; its dependency does.
    stages = yaml.safe_load((clone / "dvc.yaml").read_text())["stages"]
    assert "artifacts/molmo2/stage2/export" in stages["stage3"]["deps"]


def test_one_changed_byte_is_caught_before_training(clone: Path) -> None:
    shard = next((clone / "data" / "mini" / "tallyqa").rglob("*.parquet"))
    original = shard.read_bytes()
    runs = sorted((clone / "runs").rglob("checkpoints"))
    shard.chmod(0o644)
    damaged = bytearray(original)
    damaged[len(damaged) // 2] ^= 1
    shard.unlink()
    shard.write_bytes(damaged)
    try:
        done = run(["dvc", "repro", "stage2"], clone, check=False)
        assert done.returncode != 0
        assert str(shard) in done.stderr
        assert "dvc checkout --force data.dvc" in done.stderr
        assert sorted((clone / "runs").rglob("checkpoints")) == runs
    finally:
        # The very command that the error names.
        subprocess.run(
            "git checkout -- data.dvc && dvc checkout --force data.dvc",
            shell=True, cwd=clone, env=environment(), check=True, capture_output=True,
        )  # fmt: skip
    assert shard.read_bytes() == original
    # DVC had removed outputs before the failing run: they come back without a step being trained again.
    attempts = digests(clone / "runs")
    run(["dvc", "repro", "stage3"], clone)
    assert {name: digest for name, digest in digests(clone / "runs").items() if name in attempts} == attempts
    assert "up to date" in run(["dvc", "repro", "stage2"], clone).stdout


def test_the_figures_of_the_guide_are_of_this_plan(clone: Path, tmp_path: Path) -> None:
    run([str(BIN / "trackyard"), "feed", "figures", "--out", str(tmp_path)], clone)
    drawn = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert len(drawn) == 4
    changed = [name for name, text in drawn.items() if (ROOT / "docs" / "figures" / name).read_text() != text]
    assert changed == [], "draw them again: trackyard feed figures"


def test_the_lineage_of_the_last_export_is_proved(clone: Path) -> None:
    text = run(["trackyard", "lineage", "verify", "artifacts/molmo2/stage3/export"], clone).stdout
    proved = re.findall(r"^proved snapshot (\S+):", text, re.M)
    assert sorted(proved) == sorted(path.name for path in (clone / "data" / "mini").iterdir())
    assert len(proved) == 18
    assert re.search(r"^\d+ links proved, 0 taken on trust", text, re.M)


STOCK = """
import json, sys
from transformers import AutoTokenizer, Molmo2ForConditionalGeneration
from safetensors.torch import load_file
folder, tensors = sys.argv[1:]
model = Molmo2ForConditionalGeneration.from_pretrained(folder).eval()
inputs = load_file(tensors)
out = model.generate(**inputs, max_new_tokens=24, do_sample=False)
assert "trackyard" not in sys.modules
print(json.dumps(out[0, inputs["input_ids"].shape[1]:].tolist()))
"""


def test_the_export_generates_the_same_tokens_in_the_stock_class(clone: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file
    from transformers import AutoTokenizer

    from trackyard.evaluate.generation import generate
    from trackyard.feed.batch import collate, stack_packs
    from trackyard.feed.sample import build_prompt
    from trackyard.feed.tokens import TokenTable
    from trackyard.models.molmo2 import load_molmo2
    from trackyard.models.pixels import normalise_patches
    from trackyard.recipes.molmo2.parameters import load_molmo2 as load_parameters
    from trackyard.snapshot.reader import SnapshotDataset

    export = clone / "artifacts" / "molmo2" / "stage3" / "export"
    feed = load_parameters(clone / "params.yaml").feed("stage3", evaluation=True)
    tokens = TokenTable.of(AutoTokenizer.from_pretrained(export))
    row = SnapshotDataset.open(clone / "data" / "mini" / "tallyqa").row("validation", 0)
    prompt = build_prompt(row, 0, "tallyqa", feed, tokens)
    ours = generate(load_molmo2(export, max_positions=16).eval(), [prompt], tokens, feed.geometry, max_new_tokens=24)
    pack = collate([prompt], length=len(prompt.tree), pad=tokens.pad, geometry=feed.geometry)
    batch = stack_packs([pack], geometry=feed.geometry)
    tensors = tmp_path / "prompt.safetensors"
    save_file(
        {
            "input_ids": torch.from_numpy(batch.input_ids),
            "attention_mask": torch.ones_like(torch.from_numpy(batch.input_ids)),
            "mm_token_type_ids": torch.from_numpy(batch.visual_flags).long(),
            "pixel_values": normalise_patches(torch.from_numpy(batch.visual.patches)),
            "image_token_pooling": torch.from_numpy(batch.visual.pooling),
            "image_grids": torch.from_numpy(batch.visual.grids),
        },
        tensors,
    )
    done = run([sys.executable, "-c", STOCK, str(export), str(tensors)], tmp_path)
    stock = json.loads(done.stdout.splitlines()[-1])
    assert stock
    assert tokens.tokenizer.decode(stock, skip_special_tokens=True) == ours[0]


@pytest.mark.browser
def test_ui(served: str, tmp_path: Path) -> None:
    """Headless Chromium finds the three stages with their metrics, and the comparison page."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=served)
    experiment = client.get_experiment_by_name("molmo2")
    found = client.search_runs([experiment.experiment_id])
    runs = [item for item in found if "trackyard.run_id" in item.data.tags]
    by_stage = {item.data.tags["trackyard.stage"]: item for item in runs}
    assert set(by_stage) >= {"stage1", "stage2", "stage3"}
    for item in by_stage.values():
        assert item.info.status == "FINISHED"
        assert "validation/counting" in item.data.metrics
        assert item.inputs.dataset_inputs

    keep = Path(os.environ.get("TRACKYARD_SCREENSHOTS", str(tmp_path)))
    with chromium(tmp_path / "profile") as driver:
        runs_page = f"{served}/#/experiments/{experiment.experiment_id}/runs"
        wait_for(driver, runs_page, ["stage1"])
        driver.save_screenshot(str(keep / "runs.png"))
        ids = json.dumps([item.info.run_id for item in by_stage.values()])
        compare = f"{served}/#/compare-runs?runs={ids}&experiments=[%22{experiment.experiment_id}%22]"
        wait_for(driver, compare, ["validation/counting", "train/loss"])
        driver.save_screenshot(str(keep / "compare.png"))
    assert (keep / "compare.png").stat().st_size > 20_000
