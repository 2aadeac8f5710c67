"""Real input, made by nobody here, goes all the way: import, index, plan, stages 1 and 2, export."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from trackyard.record.metrics_file import read_metrics

ROOT = Path(__file__).resolve().parents[2]
REAL = ROOT.parent / "shared" / "data" / "real"
TRACKYARD = Path(sys.executable).parent / "trackyard"

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not REAL.is_dir(), reason="the real inputs are not beside the repository (../shared/data/real)"),
]


def trackyard(*arguments: str, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    values = {name: value for name, value in os.environ.items() if not name.startswith(("TRACKYARD_", "MLFLOW_"))}
    values |= {"TRACKYARD_COMMIT": "0" * 40, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([TRACKYARD, *arguments], cwd=cwd, env=values, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"{arguments} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository root whose snapshot is imported from the real inputs, with two steps per stage."""
    root = tmp_path_factory.mktemp("real")
    (root / "catalog").symlink_to(ROOT / "catalog")
    mappings = root / "mappings"
    mappings.mkdir()
    for source in (ROOT / "examples" / "import").iterdir():
        text = source.read_text(encoding="utf-8")
        if source.name == "mmmu_pro.yaml":
            text += "validation_fraction: 0.3\n"
        (mappings / source.name).write_text(text, encoding="utf-8")
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    track = values["molmo2"]
    track["snapshot"] = "data/own"
    track["engine"]["micro_batch"] = 1
    track["validation"] = {
        "datasets": {"multiple_choice": ["mmmu_pro"]}, "new_tokens": {"multiple_choice": 4}, "limit": 2, "batch": 2,
    }  # fmt: skip
    for name in ("stage1", "stage2", "stage3"):
        track[name] |= {"steps": 2, "packs_per_step": 2, "max_tokens": 2048, "max_inputs": 64, "save_every": 2}
        track[name]["mixture"] = {"kind": "sqrt"}
        track[name]["video"] = {"max_frames": 28, "fps": 2, "text_reserve": 64}
    (root / "params.yaml").write_text(yaml.safe_dump(values))
    return root


def test_every_importable_row_gets_in_and_the_rest_is_reported(root: Path) -> None:
    expected = {"mmmu_pro": 21, "photos": 7, "videos": 3, "shakespeare": 564}
    for name, rows in expected.items():
        text = trackyard("data", "import", f"mappings/{name}.yaml", "--base", str(REAL), cwd=root).stdout
        manifest = json.loads(next((root / "data" / "own").glob(f"{name}/manifest.json")).read_text())
        assert sum(manifest["splits"].values()) == rows, text
        assert manifest["exclusions"] == {}
    # Captions without their pixels: every row is named by reason, and nothing is written.
    refused = trackyard("data", "import", "mappings/coco_captions.yaml", "--base", str(REAL), cwd=root, check=False)
    assert refused.returncode == 1
    assert "80" in refused.stderr
    assert "media file missing" in refused.stderr
    assert sorted(path.name for path in (root / "data" / "own").iterdir()) == sorted(expected)
    assert "proved: 4 datasets" in trackyard("data", "verify", "data/own", cwd=root).stdout


def test_stages_1_and_2_train_on_it(root: Path) -> None:
    plan = json.loads(trackyard("plan", "build", "stage1", "--json", cwd=root).stdout)
    assert {entry["dataset"] for entry in plan["entries"] if entry["rate"] > 0} == {
        "mmmu_pro", "photos", "videos", "shakespeare",
    }  # fmt: skip
    # What cannot be used is counted by reason; used and unused rows add up to what was imported.
    training = json.loads((root / "data/own/mmmu_pro/manifest.json").read_text())["splits"]["train"]
    found = plan["datasets"]["mmmu_pro"]
    assert found["usable"] + sum(found["excluded"].values()) == training
    for stage in ("stage1", "stage2"):
        trackyard("run", "molmo2", stage, cwd=root)
        metrics = read_metrics(root / "artifacts" / "molmo2" / stage / "metrics.json")[stage]
        assert metrics["train/steps"] == 2
        assert metrics["examples/validation/multiple_choice"] == 2
        assert metrics["train/loss"] < 20
    assert "not measured" in trackyard("table", "molmo2", cwd=root).stdout


def test_the_2997_fps_video_gives_the_frames_of_the_rule() -> None:
    """Section 6 of the Molmo2 specification: 28 frames, the last two targets show one frame."""
    from fractions import Fraction

    from trackyard.acquire.media import frame_table, probe_video
    from trackyard.feed.frames import VideoParameters, frame_indices, plan_frames, time_text

    path = REAL / "video" / "nasa_13013.mp4"
    media = probe_video(path.read_bytes(), path.name)
    assert (media.frames, media.duration) == (390, pytest.approx(13.013, abs=1e-9))
    times = plan_frames(media, VideoParameters(max_frames=128), max_tokens=16_384, inputs_budget=128, frame_tokens=83)
    assert len(times) == 28
    assert times[-1] == Fraction(13013, 1000)
    indices = frame_indices(frame_table(media.data, path.name), times)
    assert indices[:7] == [0, 14, 29, 44, 59, 74, 89]
    assert indices[-3:] == [374, 389, 389]
    printed = [time_text(k, t).strip() for k, t in enumerate(times)]
    assert printed == [f"{k / 2:.1f}" for k in range(27)] + ["13.0"]
