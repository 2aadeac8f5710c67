"""Cache folders: which files a split takes, in the layouts that `datasets` writes, and what is wrong with them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from tests.nine_fixture import HASH, NineTree, write_arrow
from trackyard.acquire.staging.caches import read_cache

NEEDED = frozenset({"validation"})
TABLE = pa.table({"n": [1, 2]})


def test_only_the_wanted_split_is_taken_and_the_rest_is_accounted_for(tree: NineTree) -> None:
    folder = tree.roots.caches / "vqa_v2"
    cache = read_cache(folder, NEEDED)
    assert [table.name for table in cache.tables] == ["validation"]
    assert not cache.problems
    assert {path.name for path in cache.files} == {"vqa_v2-validation.arrow", "dataset_info.json"}
    everything = {str(path) for path in folder.rglob("*") if path.is_file()}
    assert {str(path) for path in cache.files} | {one.path for one in cache.excluded} == everything
    assert [table.name for table in read_cache(folder, None).tables] == ["train", "validation"]


def test_configurations_have_folders_of_their_own(tree: NineTree) -> None:
    cache = read_cache(tree.roots.caches / "MMMU___mmmu", NEEDED)
    assert [table.name for table in cache.tables] == [
        "Accounting/validation", "Art/validation", "Biology/validation"
    ]  # fmt: skip


def test_shards_are_named_by_their_number(tree: NineTree) -> None:
    (table,) = read_cache(tree.roots.caches / "facebook___textvqa", NEEDED).tables
    assert [path.name for path in table.files] == [
        "textvqa-validation-00000-of-00002.arrow", "textvqa-validation-00001-of-00002.arrow"
    ]  # fmt: skip


def test_a_missing_shard_is_named(tree: NineTree) -> None:
    folder = tree.roots.caches / "facebook___textvqa"
    (lost,) = folder.rglob("*00001-of*")
    lost.unlink()
    (problem,) = read_cache(folder, NEEDED).problems
    assert problem == f"{lost} is not there, and the split validation names it"


def test_a_missing_split_and_a_missing_configuration_are_named(tree: NineTree) -> None:
    folder = tree.roots.caches / "MMMU___mmmu"
    (info,) = (folder / "Art").rglob("dataset_info.json")
    body = json.loads(info.read_text())
    body["splits"]["dev"] = body["splits"].pop("validation")
    info.write_text(json.dumps(body))
    (problem,) = read_cache(folder, NEEDED).problems
    assert problem == "configuration Art has no split validation (splits there: dev, validation)"


@pytest.mark.parametrize("text", ["{", "[]", '{"splits": {"validation": 3}}', '{"splits": [1]}'])
def test_a_damaged_document_is_a_problem(tree: NineTree, text: str) -> None:
    folder = tree.roots.caches / "coco_caption"
    (info,) = folder.rglob("dataset_info.json")
    info.write_text(text)
    assert str(info) in read_cache(folder, NEEDED).problems[0]


def test_an_unfinished_build_is_no_cache(tree: NineTree) -> None:
    folder = tree.roots.caches / "coco_caption"
    build = next(folder.rglob("dataset_info.json")).parent
    build.rename(build.with_name(f"{build.name}.incomplete"))
    cache = read_cache(folder, NEEDED)
    assert cache.problems == ["no dataset_info.json names a split"]
    assert {one.reason for one in cache.excluded} == {"a lock or an unfinished file"}


def test_of_two_builds_the_newest_counts(tree: NineTree) -> None:
    folder = tree.roots.caches / "coco_caption"
    build = next(folder.rglob("dataset_info.json")).parent
    older = build.with_name("e" * 64)
    shutil.copytree(build, older)
    os.utime(older / "dataset_info.json", (1, 1))
    cache = read_cache(folder, NEEDED)
    assert {path.parent for path in cache.files} == {build}
    assert [(one.path, one.reason) for one in cache.excluded] == [
        (str(older), "an older build of the same configuration")
    ]


def test_a_dataset_that_was_saved_to_disk_is_read_by_its_state(tmp_path: Path) -> None:
    for split in ("train", "validation"):
        build = tmp_path / "set" / split
        build.mkdir(parents=True)
        write_arrow(build / "data-00000-of-00001.arrow", TABLE)
        (build / "dataset_info.json").write_text("{}")
        state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": split, "_fingerprint": "x"}
        (build / "state.json").write_text(json.dumps(state))
    (tmp_path / "set/dataset_dict.json").write_text(json.dumps({"splits": ["train", "validation"]}))
    cache = read_cache(tmp_path / "set", NEEDED)
    assert not cache.problems
    assert [(table.name, len(table.files)) for table in cache.tables] == [("validation", 1)]
    assert {str(path.relative_to(tmp_path)) for path in cache.files} == {
        "set/dataset_dict.json", "set/validation/dataset_info.json", "set/validation/state.json",
        "set/validation/data-00000-of-00001.arrow",
    }  # fmt: skip


def test_names_become_snake_case_as_in_datasets(tmp_path: Path) -> None:
    from datasets.naming import filenames_for_dataset_split

    for name in ("TallyQaBuilder", "VQAv2BuilderMultiQA", "textvqa", "OK-VQA"):
        build = tmp_path / name / "default/0.0.0" / HASH
        build.mkdir(parents=True)
        splits = {"validation": {"num_examples": 2, "dataset_name": name, "shard_lengths": [1, 1]}}
        (build / "dataset_info.json").write_text(json.dumps({"splits": splits}))
        expected = filenames_for_dataset_split(str(build), name, "validation", "arrow", [1, 1])
        for path in expected:
            write_arrow(Path(path), TABLE.slice(0, 1))
        (table,) = read_cache(tmp_path / name, NEEDED).tables
        assert [str(path) for path in table.files] == expected
