"""The main job as a new user does it: clone, pull, reproduce, look. One training serves every test of this file."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent

# By how much the trained model must beat both the untrained one and chance (seed 0; see the README's table).
COUNTING_MARGIN = 0.15
CHOICE_MARGIN = 0.25
POINTING_MARGIN = 0.15

pytestmark = pytest.mark.system


def environment() -> dict[str, str]:
    values = {name: value for name, value in os.environ.items() if not name.startswith(("TRACKYARD_", "MLFLOW_"))}
    values |= {"PATH": f"{BIN}{os.pathsep}{values['PATH']}", "DVC_NO_ANALYTICS": "1", "HF_HUB_OFFLINE": "1", "CI": "1"}
    return values


def run(
    argv: list[str], cwd: Path, *, check: bool = True, more: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """more: environment variables beside the usual ones."""
    done = subprocess.run(argv, cwd=cwd, env=environment() | (more or {}), capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"{argv} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the last commit, with the environment of these tests, and the three stages trained in it."""
    target = tmp_path_factory.mktemp("demo") / "trackyard"
    run(["git", "clone", "--quiet", str(ROOT), str(target)], ROOT)
    run(["dvc", "pull", "data.dvc"], target)
    run(["dvc", "repro", "stage3"], target)
    return target


def metrics(clone: Path, stage: str) -> dict[str, dict[str, dict[str, float]]]:
    return json.loads((clone / "artifacts" / "molmo2" / stage / "metrics.json").read_text())


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
    untrained, trained = metrics(clone, "stage1")["validation"], metrics(clone, "stage3")["validation"]
    for metric, margin in (
        ("counting", COUNTING_MARGIN),
        ("multiple_choice", CHOICE_MARGIN),
        ("pointing", POINTING_MARGIN),
    ):
        score, start, chance = trained[metric]["trained"], untrained[metric]["start"], trained[metric]["chance"]
        assert trained[metric]["examples"] >= 96
        assert score >= start + margin, f"{metric}: {score:.3f} against {start:.3f} untrained"
        assert score >= chance + margin, f"{metric}: {score:.3f} against {chance:.3f} by chance"
    table = run(["trackyard", "table", "molmo2"], clone).stdout
    for row in ("steps", "tokens", "padding", "validation loss", "counting accuracy", "pointing F1", "next: make ui"):
        assert row in table


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
    assert "links proved" in text
    assert text.count("manifest") or text.count("snapshot") >= 18


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


@pytest.fixture
def served(clone: Path) -> Iterator[str]:
    """`make ui`'s command on a free port, ended by its own process id."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [str(BIN / "trackyard"), "ui", "--port", str(port)], cwd=clone, env=environment(), start_new_session=True
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            assert process.poll() is None, "the server ended by itself"
            try:
                urllib.request.urlopen(f"{address}/health", timeout=2).read()
                break
            except OSError:
                time.sleep(0.5)
        else:
            pytest.fail("the server did not answer within two minutes")
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=30)


@pytest.mark.browser
def test_ui(served: str, tmp_path: Path) -> None:
    """Headless Chromium finds the three stages with their metrics, and the comparison page."""
    chromium = shutil.which("chromium")
    if chromium is None or shutil.which("chromedriver") is None:
        pytest.skip("chromium and chromedriver are not installed (apt-get install chromium chromium-driver)")
    from mlflow import MlflowClient
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    client = MlflowClient(tracking_uri=served)
    experiment = client.get_experiment_by_name("molmo2")
    found = client.search_runs([experiment.experiment_id])
    by_stage = {item.data.tags["trackyard.stage"]: item for item in found}
    assert set(by_stage) >= {"stage1", "stage2", "stage3"}
    for item in by_stage.values():
        assert item.info.status == "FINISHED"
        assert "validation/counting" in item.data.metrics
        assert item.inputs.dataset_inputs

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
        "--disable-background-networking", "--disable-component-update", "--window-size=1600,1000",
        f"--user-data-dir={tmp_path / 'profile'}",
    ):  # fmt: skip
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    keep = Path(os.environ.get("TRACKYARD_SCREENSHOTS", str(tmp_path)))
    try:
        runs_page = f"{served}/#/experiments/{experiment.experiment_id}/runs"
        _wait_for(driver, runs_page, ["stage1", "stage2", "stage3"])
        driver.save_screenshot(str(keep / "runs.png"))
        ids = json.dumps([item.info.run_id for item in by_stage.values()])
        compare = f"{served}/#/compare-runs?runs={ids}&experiments=[%22{experiment.experiment_id}%22]"
        _wait_for(driver, compare, ["validation/counting", "train/loss"])
        driver.save_screenshot(str(keep / "compare.png"))
    finally:
        driver.quit()
    assert (keep / "compare.png").stat().st_size > 20_000


SCROLL = """
for (const box of document.querySelectorAll("div")) {
  const end = box.scrollHeight - box.clientHeight;
  if (end > 20 && ["auto", "scroll"].includes(getComputedStyle(box).overflowY))
    box.scrollTop = box.scrollTop >= end - 1 ? 0 : box.scrollTop + box.clientHeight / 2;
}
"""


def _wait_for(driver: object, address: str, words: list[str]) -> None:
    """Until the page has shown all words. Long tables hold only the rows in view, and are scrolled through."""
    driver.get(address)  # type: ignore[attr-defined]
    seen: list[str] = []
    for _ in range(120):
        seen.append(driver.execute_script("return document.body.innerText"))  # type: ignore[attr-defined]
        if all(any(word in text for text in seen) for word in words):
            return
        driver.execute_script(SCROLL)  # type: ignore[attr-defined]
        time.sleep(0.5)
    pytest.fail(f"{address} does not show {words}; it shows:\n{seen[-1][:3000]}")
