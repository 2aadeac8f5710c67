"""A run in a few numbers."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from tests.record.made_runs import DEVICE, Life, make_run
from trackyard.errors import DataError, IdentityError
from trackyard.record.comparing.attempt_log import ENERGY
from trackyard.record.comparing.finals import Final
from trackyard.record.comparing.summary import read_summaries, read_summary
from trackyard.record.facts import status
from trackyard.record.rundir import SPEC
from trackyard.record.spool import Spool, read_spool


def test_it_says_what_the_run_is_and_came_to(tmp_path: Path) -> None:
    run = make_run(
        tmp_path,
        Life(metrics=[(1, {"train/loss": 4.0}), (2, {"train/loss": 3.0})], machine=2, ends=None, seconds=1800),
        Life(metrics=[(2, {"train/loss": 9.0}), (3, {"train/loss": 2.5})], machine=4, tags={"trackyard.arm": "x"}),
        Life(metrics=[(0, {"test/nll": 1.5})]),
        seed=11,
    )
    found = read_summary(run.path)
    assert found.label == f"molmo2/stage2/{run.spec.run_id}"
    assert (found.seed, found.status, found.attempts) == (11, "FINISHED", 2)
    assert dict(found.metrics) == {"train/loss": Final(2.5, 3), "test/nll": Final(1.5, 0)}
    assert found.tags == {"trackyard.arm": "x"}
    assert found.spec == run.spec.body
    # Half an hour of two devices, then one hour of four; putting in the outcome cost none.
    assert (found.world, found.device, found.hours, found.device_hours) == (4, DEVICE, 1.5, 5.0)
    assert found.energy_kwh is None


def test_what_nobody_measured_is_unknown_and_never_zero(tmp_path: Path) -> None:
    bare = read_summary(make_run(tmp_path, Life(metrics=[(1, {"train/loss": 4.0})])).path)
    assert (bare.hours, bare.device_hours, bare.energy_kwh, bare.world, bare.device) == (None,) * 5
    # One attempt of two says nothing: the sum of the other would look like that of both.
    half = make_run(
        tmp_path,
        Life(metrics=[(1, {"train/loss": 4.0})], ends=None),
        Life(metrics=[(2, {"train/loss": 4.0, ENERGY: 3.6e6})], machine=1),
        seed=8,
    )
    assert (read_summary(half.path).device_hours, read_summary(half.path).energy_kwh) == (None, None)


def test_energy_is_that_of_all_attempts(tmp_path: Path) -> None:
    run = make_run(
        tmp_path,
        Life(metrics=[(1, {"train/loss": 1.0, ENERGY: 1e6}), (2, {"train/loss": 1.0, ENERGY: 1.8e6})], machine=1),
        Life(metrics=[(3, {"train/loss": 1.0, ENERGY: 5.4e6})], machine=1),
        Life(metrics=[(0, {"test/nll": 1.0})]),
    )
    assert read_summary(run.path).energy_kwh == pytest.approx(2.0)


def test_status_is_what_a_sync_tells_mlflow(tmp_path: Path) -> None:
    draw = random.Random(3)
    for seed in range(20):
        ends = [draw.choice(["running", "finished", "failed", "stopped", None]) for _ in range(draw.randint(0, 3))]
        run = make_run(tmp_path, *(Life(metrics=[(1, {"train/loss": 1.0})], ends=end) for end in ends), seed=seed)
        parts = {path.name: read_spool(path) for path in sorted(run.spool.glob("attempt-*.jsonl"))}
        found = read_summary(run.path)
        assert (found.status, found.ended_ms) == status(parts)


def test_lines_that_a_kill_or_a_power_cut_left_count_as_in_a_sync(tmp_path: Path) -> None:
    run = make_run(tmp_path, Life(metrics=[(1, {"train/loss": 4.0})]))
    spool = run.spool / "attempt-0001.jsonl"
    good = '{"event":"metrics","step":2,"timestamp":1,"values":{"train/loss":3.0}}'
    spool.write_bytes(spool.read_bytes() + b"\0" * 32 + b"\n17\n[]\n" + good.encode())
    assert read_summary(run.path).metrics["train/loss"] == Final(4.0, 1)
    spool.write_bytes(spool.read_bytes() + b"\n")
    assert read_summary(run.path).metrics["train/loss"] == Final(3.0, 2)


def test_an_edited_specification_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path, Life())
    path = run.path / SPEC
    document = json.loads(path.read_text())
    document["spec"]["parameters"]["steps"] += 1
    path.write_text(json.dumps(document))
    with pytest.raises(IdentityError, match="edited after the run began"):
        read_summary(run.path)
    path.unlink()
    with pytest.raises(DataError, match="does not exist"):
        read_summary(run.path)


def test_a_value_that_is_no_number_is_told(tmp_path: Path) -> None:
    start = {"train/loss": 4.0, "validation/loss": 5.0}
    run = make_run(tmp_path, Life(metrics=[(1, start), (2, {"train/loss": float("nan")})]))
    found = read_summary(run.path)
    assert found.no_number == ("train/loss",)
    # What it was before it diverged is not what it came to.
    assert dict(found.metrics) == {"validation/loss": Final(5.0, 1)}


def test_a_run_that_lies_under_another_name_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path, Life(metrics=[(1, {"train/loss": 4.0})]))
    aside = run.path.with_name(f"{run.path.name}.old")
    shutil.copytree(run.path, aside)
    # Both would be one row of a table, with a spread over one run.
    with pytest.raises(IdentityError, match=f"{aside.name} holds the run molmo2/stage2/{run.spec.run_id}"):
        read_summaries(tmp_path)


def test_a_directory_may_be_named_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path, Life())
    monkeypatch.chdir(run.path)
    assert read_summary(Path()).path == run.path
    (tmp_path / "linked").symlink_to(run.path)
    assert read_summary(tmp_path / "linked").path == run.path


def test_what_it_was_measured_on_is_the_newest_that_it_told(tmp_path: Path) -> None:
    run = make_run(tmp_path, Life())
    facts = [("text", "1", "training"), ("test", "2", "evaluation"), ("test", "3", "evaluation")]
    with Spool(run.spool, run.new_attempt()) as spool:
        for name, digest, context in facts:
            spool.dataset(name, digest, "somewhere", context)
    assert read_summary(run.path).evaluated == {"test": "3"}


def test_all_runs_or_those_of_a_track(tmp_path: Path) -> None:
    for track, seed in (("molmo2", 1), ("molmo2", 2), ("nine", 1)):
        make_run(tmp_path, Life(), track=track, seed=seed)
    (tmp_path / "nine" / "accuracy" / "0123").mkdir(parents=True)
    assert len(read_summaries(tmp_path)) == 3
    assert [run.seed for run in read_summaries(tmp_path, "nine")] == [1]
    assert read_summaries(tmp_path / "absent") == []


def test_a_read_only_folder_is_enough(tmp_path: Path) -> None:
    run = make_run(tmp_path, Life(metrics=[(1, {"train/loss": 4.0})]))
    before = sorted((path, path.stat().st_mtime_ns) for path in run.path.rglob("*"))
    read_summary(run.path)
    assert sorted((path, path.stat().st_mtime_ns) for path in run.path.rglob("*")) == before
