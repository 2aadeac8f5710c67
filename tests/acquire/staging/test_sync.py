"""Staging in both forms: equal images in equal order, nothing copied twice, the source untouched, kills and stops."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.nine_fixture import NineTree, build
from trackyard.acquire.staging import transfer
from trackyard.acquire.staging.plan import StagingPlan, plan_staging
from trackyard.acquire.staging.prove import prove_staged
from trackyard.acquire.staging.records import record_folder
from trackyard.acquire.staging.roots import Roots
from trackyard.acquire.staging.sync import run_sync, sync_actions
from trackyard.errors import ConfigError, EnvironmentLacking, StoppedEarly, TrackyardError
from trackyard.runner import Finished, SystemRunner

ROOT = Path(__file__).parents[3]
MODES = ("embed", "rewrite")
SMALL = 2_500
"""Bytes of a shard in these tests: several shards for each entry."""

rsync = pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")


def _plan(tree: NineTree, target: Roots, **options: Any) -> StagingPlan:
    return plan_staging(tree.entries, tree.roots, target, **options)


def _sync(tree: NineTree, target: Roots, mode: Any, **options: Any) -> Any:
    return run_sync(_plan(tree, target), relocate=mode, shard_bytes=SMALL, **options)


def pixels(value: Any) -> Any:
    """The pixels of a `{bytes, path}` or of a stored path."""
    if value is None:
        return None
    if isinstance(value, str):
        data = Path(value).read_bytes()
    else:
        data = value["bytes"] if value["bytes"] is not None else Path(value["path"]).read_bytes()
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).tobytes()


IMAGE_COLUMNS = ("image", "image_1", "image_2", "file_path")


def _decoded(rows: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: pixels(row[name]) if name in IMAGE_COLUMNS else row[name] for name in row} for row in rows]


def arrow_rows(roots: Roots, cache: str, split: str) -> list[dict[str, Any]]:
    """Rows of a cache as a reader of it decodes them."""
    files = sorted((roots.caches / cache).rglob(f"*-{split}*.arrow"))
    files = [path for path in files if ".incomplete" not in str(path)]
    return _decoded(row for path in files for row in pa.ipc.open_stream(pa.OSFile(str(path))).read_all().to_pylist())


def shard_rows(roots: Roots, name: str, split: str) -> list[dict[str, Any]]:
    files = sorted((roots.staged / name).rglob(f"{split}/*.parquet"))
    return _decoded(row for path in files for row in pq.read_table(path).to_pylist())


def _hide_source(tree: NineTree) -> Path:
    """Rename the source away, as a purge would."""
    hidden = tree.root.with_name("purged")
    tree.root.rename(hidden)
    return hidden


@rsync
def test_both_forms_give_the_same_pixels_in_the_same_order_after_the_source_is_gone(
    tree: NineTree, tmp_path: Path
) -> None:
    embedded, rewritten = Roots.below(tmp_path / "embedded"), Roots.below(tmp_path / "rewritten")
    caches = {
        entry.name: (entry.nine.cache, entry.nine.split)
        for entry in tree.entries
        if entry.nine is not None and entry.nine.cache is not None
    }
    truth = {name: arrow_rows(tree.roots, cache, split) for name, (cache, split) in caches.items()}
    before = tree.state()
    assert _sync(tree, embedded, "embed").ok
    assert _sync(tree, rewritten, "rewrite").ok
    assert tree.state() == before
    _hide_source(tree)
    for name, (cache, split) in caches.items():
        assert truth[name], name
        assert shard_rows(embedded, name, split) == truth[name], name
        assert arrow_rows(rewritten, cache, split) == truth[name], name
    questions = {
        question["question_id"]: question
        for question in json.loads((rewritten.raw / "scene-text/train_task_3.json").read_text())["data"]
    }
    staged = shard_rows(embedded, "st_qa", "validation")
    assert len(staged) == 4
    for row in staged:
        path = rewritten.raw / "scene-text" / questions[row["question_id"]]["file_path"]
        assert row["file_path"] == pixels(str(path))


@pytest.mark.parametrize("mode", MODES)
@rsync
def test_a_second_sync_copies_nothing(tree: NineTree, target: Roots, mode: Any) -> None:
    first = _sync(tree, target, mode)
    assert first.ok
    assert first.copied_bytes == first.after_bytes > 0
    assert (first.before_files, first.before_bytes) == (0, 0)
    written = {path: path.stat().st_mtime_ns for path in target.molmo.parent.rglob("*") if path.is_file()}
    second = _sync(tree, target, mode)
    assert (second.copied_files, second.copied_bytes) == (0, 0)
    assert {one.state for one in second.outcomes} == {"present"}
    assert (second.after_files, second.after_bytes) == (first.after_files, first.after_bytes)
    assert sync_actions(_plan(tree, target), relocate=mode, shard_bytes=SMALL) == ()
    del written[target.molmo / ".staging.lock"]
    assert all(path.stat().st_mtime_ns == written[path] for path in written if path.name != ".staging.lock")


@pytest.mark.parametrize("mode", MODES)
@rsync
def test_the_actions_shown_beforehand_are_those_done(tree: NineTree, target: Roots, mode: Any) -> None:
    actions = sync_actions(_plan(tree, target), relocate=mode, shard_bytes=SMALL)
    assert not target.molmo.exists()
    _sync(tree, target, mode)
    books = {"files.json", ".staging.lock"}
    written = {str(path) for path in target.molmo.parent.rglob("*") if path.is_file() and path.name not in books}
    assert {action.dest for action in actions} == written


def test_embedding_makes_few_files_and_images_are_read_by_datasets(tree: NineTree, target: Roots) -> None:
    report = run_sync(_plan(tree, target), relocate="embed")
    assert report.after_files == 11  # nine entries, three configurations of one
    import datasets

    files = str(target.staged / "coco_2014_vqa/validation/*.parquet")
    rows = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(target.molmo / "hf"))
    assert isinstance(rows.features["image"], datasets.Image)
    assert rows[0]["image"].size == (24, 16)
    assert rows[0]["messages"] == [{"question": "what 1.0?", "answers": ["a", "see /x.jpg"], "question_id": 10}]


def test_shards_do_not_depend_on_the_number_of_streams(tree: NineTree, tmp_path: Path) -> None:
    one, four = Roots.below(tmp_path / "one"), Roots.below(tmp_path / "four")
    _sync(tree, one, "embed", streams=1)
    _sync(tree, four, "embed", streams=4)
    shards = {str(path.relative_to(one.staged)): path.read_bytes() for path in one.staged.rglob("*.parquet")}
    assert len(shards) > 11
    assert shards == {str(path.relative_to(four.staged)): path.read_bytes() for path in four.staged.rglob("*.parquet")}


@rsync
def test_a_rewritten_cache_opens_in_datasets_and_names_only_the_target(tree: NineTree, target: Roots) -> None:
    _sync(tree, target, "rewrite")
    import datasets

    (path,) = (target.caches / "tally_qa/default").glob("0.0.0/*/tally_qa-test.arrow")
    rows = datasets.Dataset.from_file(str(path))
    assert all(row["image"]["path"].startswith(f"{target.hf_home}/datasets/downloads/extracted/") for row in rows)
    record = json.loads((target.relocated / "tally_qa/files.json").read_text())
    assert len(record["source"]["fingerprint"]) == 64
    other = json.loads((target.relocated / "okvqa/files.json").read_text())
    assert record["source"]["fingerprint"] != other["source"]["fingerprint"]


@pytest.mark.parametrize("mode", MODES)
@rsync
def test_what_is_not_whole_fails_and_the_rest_is_finished(tree: NineTree, target: Roots, mode: Any) -> None:
    lost = tree.references["okvqa"][1]
    lost.unlink()
    (tree.roots.caches / "MMMU___mmmu").rename(tree.roots.caches / "away")
    report = _sync(tree, target, mode)
    assert not report.ok
    assert [one.entry for one in report.failed] == ["okvqa", "mmmu"]
    assert str(lost) in report.failed[0].reason
    assert {one.state for one in report.outcomes if one.entry not in ("okvqa", "mmmu")} == {"staged"}
    waived = run_sync(_plan(tree, target, allow_missing=["okvqa", "mmmu"]), relocate=mode, shard_bytes=SMALL)
    assert waived.ok
    assert {one.entry for one in waived.outcomes if one.state == "waived"} == {"okvqa", "mmmu"}


@pytest.mark.parametrize("mode", MODES)
@rsync
def test_lost_files_are_brought_again_and_only_they(tree: NineTree, target: Roots, mode: Any) -> None:
    _sync(tree, target, mode)
    before = {path: path.read_bytes() for path in target.molmo.parent.rglob("*") if path.is_file()}
    lost = [path for path in before if path.suffix in (".jpg", ".parquet")][::5]
    for path in lost:
        path.unlink()
    report = _sync(tree, target, mode)
    assert report.ok
    assert report.copied_files == len(lost)
    after = {path: path.read_bytes() for path in target.molmo.parent.rglob("*") if path.is_file()}
    assert {path for path in before if before[path] != after.get(path)} <= {
        path for path in before if path.name == "files.json"
    }


def test_more_splits_are_added_to_what_is_there(tree: NineTree, target: Roots) -> None:
    entry = [tree.entry("science_qa_img")]
    needed = plan_staging(entry, tree.roots, target)
    both = plan_staging(entry, tree.roots, target, splits="all")
    run_sync(needed)
    added = run_sync(both)
    assert (added.copied_files, added.after_files) == (1, 2)
    assert run_sync(needed).copied_files == 0
    assert prove_staged(entry, target, all=True).ok


def test_another_source_is_not_mixed_into_a_staged_entry(tree: NineTree, target: Roots) -> None:
    _sync(tree, target, "embed")
    tree.references["okvqa"][0].write_bytes(tree.references["okvqa"][0].read_bytes() + b"more")
    report = _sync(tree, target, "embed")
    assert [one.entry for one in report.failed] == ["okvqa"]
    assert "holds validation of another source" in report.failed[0].reason


def test_an_image_that_changes_while_it_is_copied_fails_its_entry(tree: NineTree, target: Roots) -> None:
    plan = _plan(tree, target)
    changed = tree.references["text_vqa"][4]
    changed.write_bytes(changed.read_bytes()[:-10])
    report = run_sync(plan, shard_bytes=SMALL)
    assert [one.entry for one in report.failed] == ["text_vqa"]
    assert f"{changed} has" in report.failed[0].reason
    assert not (target.staged / "text_vqa/files.json").exists()


def test_a_map_stages_images_of_a_foreign_root(tree: NineTree, target: Roots, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.move(tree.roots.molmo / "elsewhere", moved)
    plan = _plan(tree, target, maps={tree.roots.molmo / "elsewhere": moved})
    assert run_sync(plan).ok
    if shutil.which("rsync"):
        assert run_sync(plan, relocate="rewrite").ok
        (folder,) = (target.molmo / "mapped").iterdir()
        assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in moved.iterdir())
    assert prove_staged(tree.entries, target, all=True).ok


def test_a_stop_ends_with_75_and_the_next_run_goes_on(tree: NineTree, target: Roots) -> None:
    seen: list[tuple[str, int, int]] = []

    def stop() -> bool:
        return len(seen) >= 8

    with pytest.raises(StoppedEarly) as raised:
        _sync(tree, target, "embed", streams=1, progress=lambda *state: seen.append(state), should_stop=stop)
    assert raised.value.exit_code == 75
    finished = len(list(target.staged.rglob("*.parquet")))
    assert finished > 0
    assert all(0 <= done <= total for _, done, total in seen)
    report = _sync(tree, target, "embed")
    assert report.ok
    assert report.before_files == finished
    assert not list(target.molmo.rglob(".partial-*"))


def test_two_syncs_to_one_target_are_refused_at_once(tree: NineTree, target: Roots) -> None:
    inside, leave = threading.Event(), threading.Event()

    def wait(*_: object) -> None:
        inside.set()
        leave.wait(120)

    thread = threading.Thread(target=lambda: _sync(tree, target, "embed", progress=wait))
    thread.start()
    assert inside.wait(120)
    started = time.monotonic()
    with pytest.raises(TrackyardError, match=f"is in use by process {os.getpid()} on ") as raised:
        _sync(tree, target, "rewrite")
    assert time.monotonic() - started < 5
    assert raised.value.exit_code == 1
    leave.set()
    thread.join()
    assert _sync(tree, target, "embed").ok


def test_without_rsync_the_environment_lacks_it(tree: NineTree, target: Roots) -> None:
    class Without:
        def run(self, argv: list[str], **options: Any) -> Finished:
            return SystemRunner().run(["no-such-rsync", *argv[1:]], **options)

    with pytest.raises(EnvironmentLacking) as raised:
        run_sync(_plan(tree, target), relocate="rewrite", runner=Without())
    assert raised.value.exit_code == 3


def test_a_plan_without_a_target_and_one_that_does_not_fit_are_refused(
    tree: NineTree, target: Roots, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="no target"):
        run_sync(plan_staging(tree.entries, tree.roots, None))
    from trackyard.acquire.places import Room
    from trackyard.acquire.staging import fit

    monkeypatch.setattr(fit, "room", lambda _: Room(device=1, free_bytes=10, free_inodes=None))
    with pytest.raises(TrackyardError, match="10 bytes are free") as raised:
        run_sync(_plan(tree, target))
    assert raised.value.exit_code == 1
    assert not target.molmo.exists()


@rsync
@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no tmpfs to read from")
@pytest.mark.parametrize("mode", MODES)
def test_from_memory_to_disk(tmp_path: Path, mode: Any) -> None:
    """Source and target on two file systems: nothing is renamed across them."""
    source = Path("/dev/shm") / f"trackyard-{os.getpid()}-{mode}"
    try:
        tree = build(source)
        target = Roots.below(tmp_path / "disk")
        assert _sync(tree, target, mode).ok
        assert prove_staged(tree.entries, target, all=True).ok
    finally:
        shutil.rmtree(source, ignore_errors=True)


CHILD = """
import sys
from pathlib import Path
from tests.nine_fixture import entries
from trackyard.acquire.staging import transfer
from trackyard.acquire.staging.plan import plan_staging
from trackyard.acquire.staging.roots import Roots
from trackyard.acquire.staging.sync import run_sync
transfer.BATCH_FILES = 2
plan = plan_staging(entries(), Roots.below(Path(sys.argv[1])), Roots.below(Path(sys.argv[2])))
print("go", flush=True)
report = run_sync(plan, relocate=sys.argv[3], shard_bytes=2500, streams=2)
print(report.ok, report.copied_files, flush=True)
"""


@pytest.mark.system
@rsync
@pytest.mark.parametrize("mode", MODES)
def test_killed_five_times_at_random_then_complete(tree: NineTree, target: Roots, tmp_path: Path, mode: str) -> None:
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "OMP_NUM_THREADS": "1"}
    argv = [sys.executable, "-c", CHILD, str(tree.root), str(target.molmo.parent), mode]
    before, chance = tree.state(), random.Random(mode)
    finals: dict[Path, bytes] = {}
    killed = 0
    for _ in range(5):
        child = subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert child.stdout is not None
        assert child.stdout.readline() == "go\n"
        time.sleep(chance.uniform(0.0, 0.06 if mode == "embed" else 0.5))
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        killed += child.returncode == -signal.SIGKILL
        # What has its final name is complete, and is not written again.
        for path in target.molmo.parent.rglob("*"):
            if path.is_file() and ".partial-" not in str(path) and path.name not in (".staging.lock", "files.json"):
                assert finals.setdefault(path, path.read_bytes()) == path.read_bytes()
    assert killed >= 3
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split()[1] == "True"
    assert all(path.read_bytes() == data for path, data in finals.items())
    again = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert again.stdout.split()[1:] == ["True", "0"]
    assert prove_staged(tree.entries, target, all=True).ok
    assert tree.state() == before
    assert not [path for path in target.molmo.parent.rglob(".partial-*") if path.is_file()]


@rsync
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("finished", [False, True], ids=["unfinished", "finished"])
def test_what_a_kill_between_writing_and_naming_left_is_removed(
    tree: NineTree, target: Roots, mode: str, finished: bool
) -> None:
    if finished:
        assert _sync(tree, target, mode).ok
    torn = [record_folder(target, "st_qa", mode) / ".partial-files.json.7.7"]
    if mode == "rewrite" and not finished:
        torn += [root / transfer.INCOMING / ".partial-list-9" for root in (target.hf_home, target.molmo)]
    for path in torn:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("torn")
    assert _sync(tree, target, mode).ok
    assert not [path for path in target.molmo.parent.rglob(".partial-*") if path.is_file()]


def test_batches_are_bounded_and_big_files_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "BATCH_BYTES", 100)
    monkeypatch.setattr(transfer, "BATCH_FILES", 3)
    copies = [
        transfer.Copy(path=f"{size}", source=tmp_path / "a", target=tmp_path / "b", relative=f"{size}", bytes=size)
        for size in (10, 90, 20, 30, 500, 5, 1)
    ]
    found = [[copy.bytes for copy in batch] for batch in transfer.batches(copies)]
    assert found == [[500], [90], [30, 20, 10], [5, 1]]
