"""The proof of a staged copy: what passes, and that each kind of damage fails with its name and its repair."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.nine_fixture import NineTree, picture
from trackyard.acquire.staging.plan import plan_staging
from trackyard.acquire.staging.proof import StagedReport
from trackyard.acquire.staging.prove import prove_staged
from trackyard.acquire.staging.roots import Roots
from trackyard.acquire.staging.sync import run_sync
from trackyard.errors import ConfigError, EnvironmentLacking
from trackyard.schema import write_document

rsync = pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")


def _staged(tree: NineTree, target: Roots, mode: Any = "embed", **options: Any) -> None:
    assert run_sync(plan_staging(tree.entries, tree.roots, target), relocate=mode, shard_bytes=2500, **options).ok


def _proof(tree: NineTree, at: Roots, **options: Any) -> StagedReport:
    return prove_staged(tree.entries, at, **options)


@pytest.mark.parametrize("mode", ["embed", "rewrite"])
@rsync
def test_a_whole_copy_passes_without_its_source_and_is_counted(tree: NineTree, target: Roots, mode: Any) -> None:
    _staged(tree, target, mode)
    tree.root.rename(tree.root.with_name("purged"))
    report = _proof(tree, target, all=True)
    assert report.ok
    proofs = {proof.entry: proof for proof in report.proofs}
    assert proofs["tally_qa"].counts == {"rows": 8, "rows with an image": 8, "questions": 12}
    assert proofs["coco_2014_vqa"].counts["messages"] == 12
    assert proofs["science_qa_img"].counts == {"rows": 6, "rows with an image": 4}
    assert proofs["mmmu"].counts["rows"] == 6
    assert proofs["mmmu"].images == 9
    assert proofs["st_qa"].images == 4
    assert report.totals.samples == 54
    assert all(proof.files and proof.bytes for proof in report.proofs)
    if mode == "rewrite":
        assert proofs["coco-val2014"].counts == {"images": 6}


def test_a_sample_is_as_large_as_asked(tree: NineTree, target: Roots) -> None:
    _staged(tree, target)
    report = _proof(tree, target, sample=2)
    assert report.ok
    assert {proof.images for proof in report.proofs} == {2}
    assert not any(proof.notes for proof in _proof(tree, target, all=True).proofs)


@pytest.mark.parametrize("made", [True, False])
def test_an_empty_target_fails_with_zero_objects(tree: NineTree, target: Roots, made: bool) -> None:
    if made:
        target.hf_home.mkdir(parents=True)
        target.molmo.mkdir()
    report = _proof(tree, target)
    assert not report.ok
    assert report.examined == 0
    assert report.problems[0].what == f"0 objects examined at {target.molmo.parent}"
    assert report.problems[0].fix.startswith("trackyard data sync coco_2014_vqa text_vqa ")
    everything = [entry.name for entry in tree.entries]
    assert [problem.what for problem in _proof(tree, target, allow_missing=everything).problems] == [
        f"0 objects examined at {target.molmo.parent}"
    ]


def test_a_copied_folder_without_a_record_is_no_proof(tree: NineTree) -> None:
    report = _proof(tree, tree.roots)
    assert not report.ok
    assert "no record of mmmu" in "\n".join(problem.what for problem in report.problems)
    lost = tree.references["okvqa"][0]
    lost.unlink()
    assert str(lost) in "\n".join(problem.what for problem in _proof(tree, tree.roots).problems)


def _only(report: StagedReport, entry: str) -> str:
    assert not report.ok
    assert {problem.entry for problem in report.problems} == {entry}
    return report.problems[0].what


def test_a_lost_shard_is_named_and_its_repair_brings_exactly_it(tree: NineTree, target: Roots) -> None:
    _staged(tree, target)
    lost = sorted((target.staged / "doc_qa").rglob("*.parquet"))[1]
    lost.unlink()
    report = _proof(tree, target)
    assert _only(report, "doc_qa") == f"{lost} is missing"
    assert report.problems[0].fix == f"trackyard data sync doc_qa --from SOURCE --to {target.molmo.parent}"
    again = run_sync(plan_staging([tree.entry("doc_qa")], tree.roots, target), shard_bytes=2500)
    assert again.copied_files == 1
    assert _proof(tree, target, all=True).ok


def test_a_flipped_bit_is_found_though_size_and_time_are_kept(tree: NineTree, target: Roots) -> None:
    _staged(tree, target)
    assert _proof(tree, target).ok
    path = sorted((target.staged / "text_vqa").rglob("*.parquet"))[0]
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    report = _proof(tree, target, all=True)
    assert f"{path}: blake3" in _only(report, "text_vqa")
    assert report.problems[0].fix.startswith(f"rm {path} && trackyard data sync text_vqa --from ")
    path.unlink()
    _staged(tree, target)
    assert _proof(tree, target, all=True).ok


@rsync
def test_a_lost_or_changed_image_of_a_relocated_copy_is_named(tree: NineTree, target: Roots) -> None:
    _staged(tree, target, "rewrite")
    relative = tree.references["okvqa"][2].relative_to(tree.roots.molmo)
    lost = target.molmo / relative
    data = lost.read_bytes()
    lost.unlink()
    text = "\n".join(problem.what for problem in _proof(tree, target).problems)
    assert f"{lost} is missing" in text
    assert f"{lost}: dangling" in text
    lost.write_bytes(data[:-1] + b"x")
    assert f"{lost}: blake3" in _only(_proof(tree, target), "okvqa")
    lost.unlink()
    _staged(tree, target, "rewrite")
    assert _proof(tree, target, all=True).ok


@rsync
@pytest.mark.parametrize("mode", ["embed", "rewrite"])
def test_a_renamed_folder_fails_and_can_be_waived(tree: NineTree, target: Roots, mode: Any) -> None:
    _staged(tree, target, mode)
    folder = target.staged / "mmmu" if mode == "embed" else target.caches / "MMMU___mmmu"
    folder.rename(folder.with_name("away"))
    assert _only(_proof(tree, target), "mmmu")
    waived = _proof(tree, target, allow_missing=["mmmu"])
    assert waived.ok
    assert waived.document()["waivers"] == ["mmmu"]


def test_an_interrupted_entry_is_not_taken_for_a_whole_one(tree: NineTree, target: Roots) -> None:
    _staged(tree, target)
    (target.staged / "mmmu/files.json").unlink()
    assert _only(_proof(tree, target), "mmmu").startswith("no record of mmmu")


def test_a_damaged_record_and_a_stray_file_are_problems(tree: NineTree, target: Roots) -> None:
    _staged(tree, target)
    stray = target.staged / "okvqa/validation/notes.txt"
    stray.write_text("x")
    report = _proof(tree, target)
    assert _only(report, "okvqa") == f"{stray} is in no record"
    assert report.problems[0].fix == f"rm {stray}"
    (target.staged / "okvqa/files.json").write_text("{")
    assert "files.json is not valid JSON" in _only(_proof(tree, target), "okvqa")


def test_an_image_that_was_bad_at_its_source_does_not_pass(tree: NineTree, target: Roots) -> None:
    bad = tree.references["okvqa"][3]
    bad.write_bytes(picture(1)[:200])
    _staged(tree, target)
    report = _proof(tree, target)
    assert "okvqa/validation" in _only(report, "okvqa")
    assert report.problems[0].fix.startswith("bring the image again at the source, then rm -r ")


def test_too_few_rows_fail(tree: NineTree, target: Roots) -> None:
    _staged(tree, target)
    entry = tree.entry("text_vqa")
    assert entry.nine is not None
    more = entry.model_copy(update={"nine": entry.nine.model_copy(update={"samples": 6})})
    report = prove_staged([more], target)
    assert _only(report, "text_vqa") == "text_vqa has 5 rows, 5 rows with an image; 6 samples are stated"


def test_shards_carry_page_checksums(tree: NineTree, target: Roots) -> None:
    _staged(tree, target)
    path = next((target.staged / "okvqa").rglob("*.parquet"))
    data = bytearray(path.read_bytes())
    start = data.find(b"\x89PNG") + 40
    data[start] ^= 1
    path.write_bytes(data)
    with pytest.raises(OSError, match=r"(?i)crc"):
        pq.ParquetFile(path, page_checksum_verification=True).read()


def test_the_document_and_the_usage_errors(tree: NineTree, target: Roots, tmp_path: Path) -> None:
    _staged(tree, target)
    body = _proof(tree, target).document()
    write_document(tmp_path / "proof.json", "trackyard-staging-proof/1", body)
    assert {"selection", "roots", "items", "totals", "contradictions"} <= set(body)
    assert {item["state"] for item in body["items"]} == {"present"}
    with pytest.raises(ConfigError):
        _proof(tree, target, allow_missing=["nothing"])
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed/molmo").write_text("no folder")
    with pytest.raises(EnvironmentLacking, match=r"the molmo root .* cannot be read") as raised:
        _proof(tree, Roots.below(tmp_path / "closed"))
    assert raised.value.exit_code == 3
