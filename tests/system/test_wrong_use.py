"""Wrong use, damaged files and lacking machines: each has its three-part text and its exit code (design section 6)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.system.mlflow_server import mlflow_server
from tests.system.repository import (
    NOWHERE,
    SAVE_EVERY,
    STEPS,
    Repository,
    mini_rows,
    spooled,
    stored_points,
    write_rows,
)
from trackyard.acquire.media import WITHOUT_FRAMES
from trackyard.row import Row
from trackyard.snapshot.manifest import RESTORE

pytestmark = pytest.mark.system

MakeCopy = Callable[[Repository], Repository]


@pytest.fixture
def copy_of(tmp_path: Path) -> MakeCopy:
    """Copy a root into this test's folder."""
    return lambda repository: repository.copy(tmp_path / "root")


# --- the command line and the parameters


def test_outside_a_repository_root(tmp_path: Path) -> None:
    parts = Repository(path=tmp_path).stage2().error(2, "ConfigError")
    assert parts["what"] == f"{tmp_path} is not the root of a trackyard repository"
    assert parts["fix"].startswith("cd to the directory that holds params.yaml")


@pytest.mark.parametrize(
    "command", [("run", "molmo2", "stage4"), ("run", "molmo2", "stage1", "cell"), ("plan", "build", "stage4")]
)
def test_a_stage_that_does_not_exist(bare: Repository, command: tuple[str, ...]) -> None:
    parts = bare.trackyard(*command).error(2, "ConfigError")
    assert "no stage" in parts["what"]
    assert "stage1, stage2, stage3" in parts["why"]
    assert parts["fix"].startswith("trackyard ")


def test_a_track_that_does_not_exist(bare: Repository) -> None:
    parts = bare.trackyard("run", "molmo", "stage1").error(2, "ConfigError")
    assert parts["what"] == "no track 'molmo'"
    assert parts["why"] == "there are molmo2, pile_ffn, datacomp and nine, and all for the report of all four"


def test_zero_processes(bare: Repository) -> None:
    ended = bare.trackyard("run", "molmo2", "stage1", "--processes", "0")
    assert ended.code == 2
    assert "Invalid value for '--processes'" in ended.err


def test_a_tracking_uri_that_nothing_can_be_delivered_to_is_refused_before_training(bare: Repository) -> None:
    parts = bare.within(MLFLOW_TRACKING_URI="mlruns").stage2().error(2, "ConfigError")
    assert "'mlruns'" in parts["what"]
    assert "MLFLOW_TRACKING_URI" in parts["fix"]


def test_unknown_parameter_and_value_out_of_range(bare: Repository, copy_of: MakeCopy) -> None:
    repository = copy_of(bare)

    def change(values: dict[str, Any]) -> None:
        values["stage2"]["save_evry"] = 10
        values["stage2"]["steps"] = 0

    repository.edit(change)
    parts = repository.stage2().error(2, "ConfigError")
    assert "unknown parameter 'stage2.save_evry'; did you mean 'save_every'?" in parts["what"]
    assert "stage2.steps=0: Input should be greater than or equal to 1" in parts["what"]
    assert "trackyard params" in parts["fix"]
    assert not (repository.path / "runs").exists()


def test_processes_that_do_not_divide_the_batch(bare: Repository) -> None:
    parts = bare.trackyard("run", "molmo2", "stage1", "--processes", "3").error(2, "ConfigError")
    assert "packs_per_step=4 is not a multiple of micro_batch=2 x ranks=3" in parts["what"]


# --- the data


def test_missing_snapshot(bare: Repository, copy_of: MakeCopy) -> None:
    repository = copy_of(bare)
    shutil.rmtree(repository.path / "data")
    ended = repository.trackyard("data", "verify", "data/mini")
    assert ended.code == 1
    wrong, repair, last = ended.out.splitlines()
    assert wrong.split(maxsplit=1) == ["wrong", "there is no snapshot in data/mini"]
    assert repair.strip() == "dvc pull data.dvc"
    assert last == "stopped: data/mini: zero objects examined"


def test_truncated_shard(bare: Repository, copy_of: MakeCopy) -> None:
    repository = copy_of(bare)
    shard = repository.path / "data/mini/tulu/train/part-00000.parquet"
    size = shard.stat().st_size
    os.truncate(shard, size - 100)
    ended = repository.trackyard("data", "verify", "data/mini")
    assert ended.code == 1
    name = str(shard.relative_to(repository.path))
    wrong, repair, last = ended.out.splitlines()
    assert wrong.split()[:2] == ["wrong", f"{name}:"]
    assert f"({size - 100} bytes)" in wrong
    assert f"({size} bytes)" in wrong
    assert repair.strip() == f"rm -f {name} && dvc pull {name}"
    assert last.startswith("stopped: 7 datasets")


def test_a_flipped_byte_is_found_before_training(bare: Repository, copy_of: MakeCopy) -> None:
    repository = copy_of(bare)
    shard = repository.path / "data/mini/pixmo-cap/validation/part-00000.parquet"
    flip(shard)
    ended = repository.trackyard("run", "molmo2", "stage1")
    parts = ended.error(1, "DataError")
    assert str(shard) in parts["what"]
    assert parts["what"].count("blake3") == 2 or "expected" in parts["what"]
    assert parts["fix"] == RESTORE
    assert ended.out == ""
    assert not (repository.path / "runs").exists()


def flip(path: Path) -> None:
    """Change one byte in the middle, size and time kept."""
    found = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def _unreadable(row: Row) -> Row:
    """The row with the first half of each image: its header says what it is, its pixels are gone."""
    return replace(row, media=tuple(replace(medium, data=medium.data[: len(medium.data) // 2]) for medium in row.media))


@pytest.fixture
def with_unreadable_images(bare: Repository, copy_of: MakeCopy) -> Repository:
    """A root in which a third of the captioned images do not decode; stage 1 has four steps."""
    repository = copy_of(bare)
    rows = mini_rows("pixmo-cap", "train", 24)
    rows = [_unreadable(row) if number % 3 == 0 else row for number, row in enumerate(rows)]
    write_rows(
        repository.path / "data/mini/pixmo-cap",
        "pixmo-cap",
        train=rows,
        validation=mini_rows("pixmo-cap", "validation", 2),
    )
    repository.edit(lambda values: values["stage1"].update(steps=4))
    return repository


def test_unreadable_images_keep_their_place_and_are_counted(with_unreadable_images: Repository) -> None:
    repository = with_unreadable_images
    repository.edit(lambda values: values.update(max_bad_rows=0.5))
    ended = repository.trackyard("run", "molmo2", "stage1")
    assert ended.code == 0, ended
    (plan,) = repository.path.glob("artifacts/plans/*/plan.json")
    planned = json.loads(plan.read_text())["summary"]
    assert planned["datasets"]["pixmo-cap"]["excluded"] == {}
    curve = spooled(repository.run_directory("stage1"))
    broken = [values["train/broken_rows"] for values in curve.values()]
    drawn = planned["datasets"]["pixmo-cap"]["rows_drawn"]
    assert 2 <= sum(broken) < drawn
    assert sum(values["train/step_tokens"] for values in curve.values()) == planned["totals"]["tokens"]


def test_more_unreadable_images_than_the_budget_stop_the_run(with_unreadable_images: Repository) -> None:
    parts = with_unreadable_images.trackyard("run", "molmo2", "stage1").error(1, "DataError")
    assert "rows could not be decoded: {'pixmo-cap: unreadable image':" in parts["what"]
    assert "the budget is 0.10%" in parts["why"]
    assert "dvc checkout --force data.dvc" in parts["fix"]


def test_a_video_without_frames_is_left_out_by_the_import_and_counted(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16_000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
        silence.sample_rate = 16_000
        for packet in (*stream.encode(silence), *stream.encode(None)):
            container.mux(packet)
    (tmp_path / "moving.mp4").write_bytes(mini_rows("molmo2-capqa", "train", 1)[0].media[0].data)
    lines = [{"clip": name, "q": "What happens?", "a": "nothing"} for name in ("sound.mp4", "moving.mp4")]
    (tmp_path / "clips.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "clips.yaml").write_text(
        "{dataset: clips, licence: CC0-1.0, sidecar: clips.jsonl, task: video_short_answer, id: clip, "
        "media: [{field: clip, kind: video}], question: q, answer: a}"
    )
    repository = Repository(path=tmp_path)
    ended = repository.trackyard("data", "import", "clips.yaml")
    assert ended.code == 0, ended
    assert "clips/train: 1 rows" in ended.out
    manifest = json.loads((tmp_path / "data/own/clips/manifest.json").read_text())
    assert manifest["exclusions"] == {WITHOUT_FRAMES: 1}
    assert WITHOUT_FRAMES in ended.out


# --- the stage before


def test_stage2_without_the_export_of_stage1(bare: Repository, copy_of: MakeCopy) -> None:
    repository = copy_of(bare)
    parts = repository.stage2().error(1, "DataError")
    assert parts["what"].endswith("artifacts/molmo2/stage1/export holds no exported model")
    assert parts["fix"] == "dvc repro stage1"


def test_stage2_on_a_damaged_export_of_stage1(after_stage1: Repository, copy_of: MakeCopy) -> None:
    repository = copy_of(after_stage1)
    weights = repository.path / "artifacts/molmo2/stage1/export/model.safetensors"
    flip(weights)
    parts = repository.stage2().error(1, "DataError")
    assert parts["what"].startswith(f"{weights} has blake3 ")
    assert parts["fix"].startswith("trackyard run molmo2 stage1")
    assert not (repository.path / "runs").exists()


# --- another identity


def test_an_edited_specification_is_refused_with_both_ids(uninterrupted: Repository, tmp_path: Path) -> None:
    repository = uninterrupted.copy(tmp_path / "root", without=())
    path = repository.run_directory() / "spec.json"
    document = json.loads(path.read_text())
    document["spec"]["plan"] = "0" * 64
    path.write_text(json.dumps(document))
    parts = repository.stage2().error(2, "IdentityError")
    assert f"says run {document['run_id']}, but its content is that of run " in parts["what"]
    assert str(path) in parts["fix"]


def test_a_swapped_plan_is_refused_with_both_fingerprints(uninterrupted: Repository, tmp_path: Path) -> None:
    repository = uninterrupted.copy(tmp_path / "root", without=())
    run = repository.run_directory()
    (run / "result.json").unlink()
    link = json.loads((run / "plan.json").read_text())
    ours = link["fingerprint"]
    (run / "plan.json").write_text(json.dumps({**link, "fingerprint": "f" * 64}))
    parts = repository.stage2().error(2, "IdentityError")
    assert "f" * 64 in parts["what"]
    assert ours in parts["what"]
    assert f"`rm {run / 'plan.json'}`" in parts["fix"]
    (run / "plan.json").unlink()
    assert repository.stage2().code == 0


# --- the machine


@contextmanager
def _mounted(path: Path, *options: str) -> Iterator[None]:
    """A small file system of its own at `path`; skips where that is not allowed."""
    path.mkdir(exist_ok=True)
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small file system needs root")
    argv = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"mount: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)


def test_a_disk_that_fills_up_during_a_checkpoint(
    after_stage1: Repository, uninterrupted: Repository, copy_of: MakeCopy
) -> None:
    repository = copy_of(after_stage1)
    (checkpoint, *_) = uninterrupted.run_directory().glob("checkpoints/step-*")
    size = sum(path.stat().st_size for path in checkpoint.rglob("*") if path.is_file())
    runs = repository.path / "runs"
    with _mounted(runs, f"size={int(2.6 * size)}"):
        parts = repository.stage2().error(1, "CheckpointError")
        # Two fit; the third would have been written before the first is given up.
        assert f"step-{3 * SAVE_EVERY:08d} could not be written" in parts["what"]
        assert "df -h" in parts["fix"]
        assert repository.checkpoints() == [SAVE_EVERY, 2 * SAVE_EVERY]
        left = sorted(path.name for path in (repository.run_directory() / "checkpoints").iterdir())
        assert left == [f"step-{SAVE_EVERY:08d}", f"step-{2 * SAVE_EVERY:08d}"]
        subprocess.run(["mount", "-o", f"remount,size={20 * size}", str(runs)], check=True)
        ended = repository.stage2()
        assert ended.code == 0, ended
        assert f"train     step {2 * SAVE_EVERY + 1}/{STEPS}" in ended.out
        weights = "final/model.safetensors"
        ours, theirs = repository.run_directory() / weights, uninterrupted.run_directory() / weights
        assert ours.read_bytes() == theirs.read_bytes()


def test_a_read_only_run_directory(after_stage1: Repository, copy_of: MakeCopy) -> None:
    repository = copy_of(after_stage1)
    with _mounted(repository.path / "runs", "ro"):
        parts = repository.stage2().error(3, "EnvironmentLacking")
    assert "Read-only file system" in parts["what"]
    assert "writable" in parts["fix"]


# --- MLflow


def test_an_unreachable_server_neither_stops_nor_fails_a_run(
    after_stage1: Repository, uninterrupted: Repository
) -> None:
    """Both were run without a reachable server; here only the delivery is tried again."""
    assert after_stage1.run_directory("stage1").is_dir()
    assert (uninterrupted.run_directory() / "result.json").is_file()
    ended = uninterrupted.stage2()
    assert ended.code == 0
    assert "warning: Unreachable" in ended.err
    assert f"what: tracking store {NOWHERE}: " in ended.err
    assert "`trackyard record sync`" in ended.err
    assert "0 points of 0 of 1 runs delivered" in ended.out


def test_a_later_sync_delivers_every_point_once(uninterrupted: Repository, tmp_path: Path) -> None:
    repository = uninterrupted.copy(tmp_path / "root", without=())
    run = repository.run_directory()
    lost = repository.trackyard("record", "sync")
    assert lost.code == 1
    database = tmp_path / "server.db"
    with mlflow_server(database) as uri:
        tracked = repository.within(MLFLOW_TRACKING_URI=uri)
        first, second = tracked.trackyard("record", "sync"), tracked.trackyard("record", "sync")
        assert first.code == 0, first
        assert second.code == 0, second
        assert "0 points of 1 of 1 runs delivered" in second.out
        # What was delivered is forgotten, as after a kill between the server's answer and the note of it.
        (run / "spool" / "synced.json").unlink()
        assert tracked.trackyard("record", "sync").code == 0
    points = stored_points(database, run.name)
    assert len({(key, step) for key, step, _ in points}) == len(points)
    assert {(step, value) for key, step, value in points if key == "train/loss"} == {
        (step, values["train/loss"]) for step, values in spooled(run).items()
    }
    assert sum(key == "validation/loss" for key, _, _ in points) == 2
