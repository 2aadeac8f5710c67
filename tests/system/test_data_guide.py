"""docs/data.md as a newcomer follows it: every command, in order, from an empty disk to a verified snapshot."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from checks.readme import readme_commands
from tests import nine_fixture
from tests.loopback.hub import LoopbackHub
from tests.loopback.stage1 import IMAGES, LATE, LOST, Web, publish, web
from trackyard.catalog.entries import load_catalogue
from trackyard.catalog.selection import select
from trackyard.recipes.pile_ffn.parameters import load_pile_ffn
from trackyard.snapshot.reader import SnapshotDataset

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "data.md"
Shell = Callable[..., str]


@pytest.fixture(scope="module")
def pages() -> Iterator[Web]:
    with web() as served:
        yield served


@pytest.fixture(scope="module")
def hub(pages: Web) -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        publish(hub, pages)
        for entry in select(load_catalogue(ROOT / "catalog"), ["pile"]):
            for source in entry.hub:
                files = {"README.md": b"# A data set\n"}
                if entry.name == "pile-uncopyrighted":
                    files |= {f"train/{number:02d}.jsonl.zst": b"x" for number in range(30)}
                    files |= {"val.jsonl.zst": b"x", "test.jsonl.zst": b"x"}
                hub.add_repository(
                    source.repo, files, commit=None if source.revision == "unpinned" else source.revision
                )
        files = {"config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors": b"x"}
        model = load_pile_ffn(ROOT / "profiles" / "pythia-1.4b.yaml").model
        hub.add_repository(model.id, files, kind="model", commit=model.revision)
        yield hub


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository without data, with a DVC remote of its own."""
    path = tmp_path_factory.mktemp("guide") / "repository"
    path.mkdir()
    for name in ("catalog", "profiles"):
        shutil.copytree(ROOT / name, path / name)
    for name in ("params.yaml", "requirements.lock", ".dvcignore"):
        shutil.copy(ROOT / name, path / name)
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "--quiet"], cwd=path, check=True, timeout=60)
    (path / ".dvc" / "config").write_text(
        "[core]\n    remote = site\n    analytics = false\n    no_scm = true\n"
        f"['remote \"site\"']\n    url = {path.parent / 'remote'}\n    verify = true\n"
    )
    return path


@pytest.fixture(scope="module")
def staging(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root whose catalogue counts the rows of a small scratch/vlm in the nine datasets' real layouts."""
    path = tmp_path_factory.mktemp("staging")
    shutil.copytree(ROOT / "catalog", path / "catalog")
    shutil.copy(ROOT / "params.yaml", path / "params.yaml")
    tree = nine_fixture.build(path / "scratch" / "vlm")
    small = {entry.name: entry for entry in tree.entries}
    for file in (path / "catalog").glob("*.yaml"):
        body = yaml.safe_load(file.read_text())
        body["datasets"] = [entry for entry in body["datasets"] if entry["name"] not in small]
        file.write_text(yaml.safe_dump(body, allow_unicode=True))
    counted = [entry.model_dump(mode="json", exclude_defaults=True) for entry in small.values()]
    (path / "catalog" / "small-nine.yaml").write_text(yaml.safe_dump({"datasets": counted}))
    return path


@pytest.fixture(scope="module")
def shell(root: Path, hub: LoopbackHub) -> Shell:
    """Types a line, in the repository or elsewhere; what it printed. It must end with 0."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "TRACKYARD_"))}
    environment = {
        **plain,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HF_HOME": str(root.parent / "hf"),
        "HF_ENDPOINT": hub.url,
        "TRACKYARD_ALLOW_ADDRESSES": "127.0.0.0/8",
        "COLUMNS": "160",
        "OMP_NUM_THREADS": "1",
    }

    def type_in(text: str, cwd: Path = root) -> str:
        done = subprocess.run(
            ["bash", "-c", text], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"`{text}` ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return type_in


STEPS = (
    "trackyard catalog check",
    "trackyard data list stage1",
    "trackyard data show pixmo-points",
    "trackyard data plan stage1",
    "trackyard data plan --stage all --budget 500GB --max-files 1M",
    "trackyard data fetch stage1 --dry-run",
    "trackyard data fetch stage1",
    "trackyard data status stage1",
    "trackyard data fetch pixmo-cap --retry-failed",
    "trackyard data instructions st-vqa",
    "trackyard data verify stage1",
    "trackyard data snapshot stage1 --target data/molmo2",
    "trackyard data verify data/molmo2",
    "trackyard data inspect data/molmo2 --out inspection",
    "dvc add data",
    "dvc push",
    "trackyard data plan nine --from scratch/vlm --to project/vlm",
    "trackyard data sync nine --from scratch/vlm --to project/vlm --dry-run",
    "trackyard data sync nine --from scratch/vlm --to project/vlm",
    "trackyard data verify nine --at project/vlm",
    "trackyard data verify pile --quick",
)


def test_these_are_the_commands_of_the_guide() -> None:
    assert tuple(readme_commands(GUIDE)) == STEPS


def test_from_an_empty_disk_to_a_verified_snapshot(shell: Shell, root: Path, hub: LoopbackHub, pages: Web) -> None:
    """Steps 1 to 7, each judged by what it leaves behind."""
    assert "0 problems" in shell(STEPS[0])
    assert "5 entries" in shell(STEPS[1])
    assert "allenai/pixmo-points" in shell(STEPS[2])
    # Whether the real sizes fit depends on the machine that runs the test; without room the command says so.
    planned = shell(f"{STEPS[3]} || [ $? = 1 ]")
    assert "80.00 GB for 5 of" in planned
    chosen = shell(STEPS[4])
    assert re.search(r"chosen: \d+ entries", chosen)
    assert "left out:" in chosen

    asked = len(hub.log)
    dry = shell(STEPS[5])
    assert not (root / "raw").exists()
    assert len(hub.log) == asked
    for name in ("pixmo-cap", "pixmo-points", "pixmo-count", "cosyn-point", "tulu"):
        assert name in dry

    fetched = shell(STEPS[6])
    assert f"http_404 {LOST + LATE}" in fetched.replace("  ", " ")
    assert "complete" in shell(STEPS[7])
    before = pages.asked.copy()
    pages.late = True
    retried = shell(STEPS[8])
    assert f"http_404 {LOST}" in retried.replace("  ", " ")
    assert sum((pages.asked - before).values()) == LOST + LATE, "only what failed is asked for again"
    assert "rrc.cvc.uab.es" in shell(STEPS[9])
    assert "proved" in shell(STEPS[10])

    shell(STEPS[11])
    assert "proved: 5 datasets" in shell(STEPS[12])
    captions = SnapshotDataset.open(root / "data" / "molmo2" / "pixmo-cap")
    assert sum(captions.manifest.splits.values()) == IMAGES - LOST
    assert captions.manifest.exclusions == {"image lost: http_404": LOST}
    points = SnapshotDataset.open(root / "data" / "molmo2" / "pixmo-points")
    # One image of the evaluation is held out; the late ones were fetched again for pixmo-cap alone.
    assert sum(points.manifest.splits.values()) == IMAGES - LOST - LATE - 1
    shell(STEPS[13])
    assert (root / "inspection" / "index.html").stat().st_size > 10_000
    assert (root / "inspection" / "sheet.png").read_bytes().startswith(b"\x89PNG")
    shell(STEPS[14])
    shell(STEPS[15])
    assert yaml.safe_load((root / "data.dvc").read_text())["outs"][0]["nfiles"] > 5
    assert any((root.parent / "remote").rglob("*"))


def test_the_nine_are_staged_and_proved(shell: Shell, staging: Path) -> None:
    planned = shell(STEPS[16], staging)
    assert "38.47 GB" in planned
    assert "complete" in planned
    shell(STEPS[17], staging)
    assert not (staging / "project").exists()
    assert "proved" in shell(STEPS[18], staging)
    assert "copied 0 B\n" in shell(STEPS[18], staging), "a second sync copies nothing"
    # What was staged does not need the source any more.
    (staging / "scratch").rename(staging / "purged")
    assert "proved" in shell(STEPS[19], staging)
    (staging / "purged").rename(staging / "scratch")
    for number in (16, 17, 18, 19):
        assert json.loads(shell(f"{STEPS[number]} --json", staging)), STEPS[number]


def test_the_checks_of_the_pile_study(shell: Shell) -> None:
    assert "0 failed" in shell(STEPS[20])


def test_every_command_speaks_json(shell: Shell) -> None:
    for number in (0, 1, 2, 4, 5, 7, 9, 10, 12, 13, 20):
        body = json.loads(shell(f"{STEPS[number]} --json"))
        assert body, STEPS[number]
