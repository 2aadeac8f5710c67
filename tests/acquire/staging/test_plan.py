"""The plan follows references: every file of the closure and nothing else, what is wrong by name, and the figures."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from tests.nine_fixture import NineTree, entries
from trackyard.acquire.places import Room
from trackyard.acquire.staging import fit
from trackyard.acquire.staging.plan import StagingPlan, plan_staging
from trackyard.acquire.staging.roots import Roots
from trackyard.acquire.staging.tables import ArrowTable
from trackyard.catalog.entries import load_catalogue
from trackyard.catalog.selection import closure, select
from trackyard.errors import ConfigError, EnvironmentLacking
from trackyard.schema import read_document, write_document

ROOT = Path(__file__).parents[3]


def _plan(tree: NineTree, target: Roots | None = None, **options: object) -> StagingPlan:
    return plan_staging(tree.entries, tree.roots, target, **options)  # type: ignore[arg-type]


def _files(plan: StagingPlan) -> list[str]:
    return [path for item in plan.items for path in item.paths]


def test_the_plan_names_every_file_of_the_closure_once_and_nothing_else(tree: NineTree, target: Roots) -> None:
    before = tree.state()
    plan = _plan(tree, target)
    assert plan.complete
    assert sorted(_files(plan)) == sorted(str(path) for path in tree.closure)
    assert {item.state for item in plan.items} == {"present"}
    assert plan.totals.files == len(tree.closure)
    assert plan.totals.bytes == sum(path.stat().st_size for path in tree.closure)
    assert plan.totals.allocated == sum(path.stat().st_blocks * 512 for path in tree.closure)
    assert tree.state() == before
    assert not target.molmo.exists()


def test_everything_else_is_excluded_with_a_reason(tree: NineTree) -> None:
    excluded = {one.path: one.reason for one in _plan(tree).excluded}
    for path in tree.excluded:
        assert any(str(path) == listed or str(path).startswith(f"{listed}/") for listed in excluded), path
    assert not set(excluded) & {str(path) for path in tree.closure}
    downloads = tree.roots.raw / "downloads"
    assert excluded[str(downloads / "test2015")] == "no sample of the nine datasets uses it"
    assert excluded[str(downloads / "val2014.zip")] == "an archive is opened again only to rebuild a cache"
    assert excluded[str(tree.roots.raw / "pixmo_datasets")] == "no dataset of the selection"


def test_all_splits_take_more_and_a_dangling_row_there_is_found(tree: NineTree) -> None:
    plan = _plan(tree, splits="all")
    assert not plan.complete
    (problem,) = plan.problems
    assert problem.entry == "coco_2014_vqa"
    assert "unused.jpg" in problem.what


def test_a_missing_reference_is_named_for_each_entry_that_points_to_it(tree: NineTree) -> None:
    lost = tree.references["coco_2014_vqa"][0]
    lost.unlink()
    plan = _plan(tree)
    assert not plan.complete
    assert [problem.entry for problem in plan.problems] == ["coco_2014_vqa", "tally_qa", "coco_caption"]
    assert all(f"1 dangling references: {lost}" in problem.what for problem in plan.problems)
    items = [item for item in plan.items if item.state == "dangling"]
    assert [str(lost) in item.reason for item in items] == [True, True, True]


def test_an_empty_image_and_a_folder_in_its_place_dangle(tree: NineTree) -> None:
    first, second = tree.references["okvqa"][:2]
    first.write_bytes(b"")
    second.unlink()
    second.mkdir()
    (problem,) = _plan(tree).problems
    assert "2 dangling references" in problem.what
    assert f"{first}: an empty file" in problem.what
    assert f"{second}: no regular file" in problem.what


def test_a_path_outside_of_every_root_is_outside_until_it_is_mapped(tree: NineTree, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere-now"
    shutil.move(tree.roots.molmo / "elsewhere", moved)
    (problem,) = _plan(tree).problems
    assert "4 dangling references" in problem.what
    plan = _plan(tree, maps={tree.roots.molmo / "elsewhere": moved})
    assert plan.complete
    assert {str(path) for path in moved.iterdir()} <= set(_files(plan))
    other = Roots(hf_home=tree.roots.hf_home, molmo=tmp_path / "new-molmo")
    shutil.copytree(tree.roots.molmo, other.molmo)
    (problem,) = plan_staging(tree.entries, other, None).problems
    assert (problem.entry, "4 outside references" in problem.what) == ("okvqa", True)
    assert problem.fix == "name the folder that holds them now with --map OLD=NEW"


@pytest.mark.parametrize(
    ("cache", "entry"), [("vqa_v2", "coco_2014_vqa"), ("MMMU___mmmu", "mmmu"), ("tally_qa", "tally_qa")]
)
def test_a_cache_that_was_renamed_away_is_missing_unless_waived(tree: NineTree, cache: str, entry: str) -> None:
    folder = tree.roots.caches / cache
    folder.rename(folder.with_name(f"{cache}-away"))
    plan = _plan(tree)
    (problem,) = plan.problems
    assert (problem.entry, problem.what) == (entry, f"the cache {folder} is not there")
    assert {item.state for item in plan.items if item.entry == entry} == {"missing"}
    waived = _plan(tree, allow_missing=[entry])
    assert waived.complete
    assert waived.waivers == (entry,)
    assert any(item.reason.endswith("(waived)") for item in waived.items)


def test_a_missing_configuration_shows_in_the_rows(tree: NineTree) -> None:
    shutil.rmtree(tree.roots.caches / "MMMU___mmmu/Art")
    (problem,) = _plan(tree).problems
    assert problem.entry == "mmmu"
    assert "has 4 rows, 4 rows with an image in 2 configurations; 6 samples are stated" in problem.what


def test_a_cut_arrow_file_is_partial(tree: NineTree) -> None:
    (path,) = (tree.roots.caches / "coco_caption").rglob("*.arrow")
    path.write_bytes(path.read_bytes()[:-500])
    (problem,) = _plan(tree).problems
    assert (problem.entry, str(path) in problem.what) == ("coco_caption", True)


def test_an_arrow_file_that_was_cut_between_two_batches_shows_in_the_rows(tree: NineTree) -> None:
    """Such a file reads without an error; only the count that its documents declare tells."""
    (path,) = (tree.roots.caches / "vqa_v2").rglob("vqa_v2-train.arrow")
    schema = ArrowTable(name="", files=(path,)).schema
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema):
        pass
    assert _plan(tree).complete
    (problem,) = _plan(tree, splits="all").problems
    assert problem.what == f"{path} and its like hold 0 rows, 1 are declared"


def test_a_raw_folder_that_lost_an_image_is_partial(tree: NineTree) -> None:
    folder = tree.roots.raw / "downloads/val2014"
    next(folder.iterdir()).unlink()
    (problem,) = _plan(tree).problems
    assert (problem.entry, problem.what) == ("coco-val2014", f"{folder} has 5 images, 6 are stated")
    assert _plan(tree, allow_missing=["coco-val2014"]).complete


def test_a_raw_folder_that_no_row_needs_may_be_absent(tree: NineTree) -> None:
    folder = tree.roots.raw / "downloads/val2014"
    shutil.rmtree(folder)
    plan = _plan(tree)
    assert plan.complete
    assert any("every row of coco_2014_vqa, tally_qa, coco_caption finds its images elsewhere" in text
               for text in plan.contradictions)  # fmt: skip
    tree.references["coco_caption"][0].unlink()
    missing = [item for item in _plan(tree).items if item.state == "missing"]
    assert [item.source for item in missing] == [str(folder)]


def test_nothing_in_the_closure_is_no_success(tree: NineTree) -> None:
    shutil.rmtree(tree.roots.caches)
    tree.roots.caches.mkdir()
    one = [tree.entry("mmmu")]
    plan = plan_staging(one, tree.roots, None, allow_missing=["mmmu"])
    assert [problem.what for problem in plan.problems] == ["0 files in the closure"]


def test_what_does_not_fit_is_refused(tree: NineTree, target: Roots, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "room", lambda _: Room(device=1, free_bytes=1000, free_inodes=3))
    plan = _plan(tree, target)
    assert not plan.complete
    assert (plan.free_bytes, plan.free_inodes) == (1000, 3)
    assert [problem.what.split(" are needed")[1] for problem in plan.problems] == [
        f", 1 kB are free at {target.molmo}", f", 3 inodes are free at {target.molmo}"
    ]  # fmt: skip


def test_usage_and_environment_have_their_exit_codes(tree: NineTree, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--allow-missing mmlu: not in the selection") as usage:
        _plan(tree, allow_missing=["mmlu"])
    assert usage.value.exit_code == 2
    with pytest.raises(ConfigError, match="none of the nine datasets"):
        plan_staging([tree.entry("visual-genome")], tree.roots, None)
    with pytest.raises(EnvironmentLacking, match="cannot be read") as environment:
        plan_staging(tree.entries, Roots.below(tmp_path / "absent"), None)
    assert environment.value.exit_code == 3


def test_the_document_has_the_keys_of_the_spec(tree: NineTree, target: Roots, tmp_path: Path) -> None:
    plan = _plan(tree, target)
    path = tmp_path / "plan.json"
    write_document(path, "trackyard-staging-plan/1", plan.document())
    body = read_document(path, "trackyard-staging-plan/1", fix="")
    assert {"selection", "roots", "items", "totals", "contradictions"} <= set(body)
    assert set(body["items"][0]) == {
        "entry", "kind", "source", "dest", "files", "bytes", "allocated", "stated_bytes", "state", "reason"
    }  # fmt: skip
    assert {item["kind"] for item in body["items"]} == {"cache", "raw", "reference"}
    assert body["roots"]["to"] == {"hf_home": str(target.hf_home), "molmo": str(target.molmo)}
    assert sorted(path for item in plan.document(paths=True)["items"] for path in item["paths"]) == sorted(_files(plan))


def _checked_totals(plan: StagingPlan) -> None:
    totals = plan.totals
    assert totals.stated_caches == 38_474_000_000
    assert totals.stated_manual_caches == 292_000_000
    assert totals.stated_raw == 61_000_000_000
    assert totals.stated_bytes == 99_474_000_000


def test_the_stated_totals_and_their_contradictions(tree: NineTree) -> None:
    plan = _plan(tree)
    _checked_totals(plan)
    text = "\n".join(plan.contradictions)
    assert "prints 292 MB for the caches: that is the sum of the 4 that its manual commands copy" in text
    assert "add up to 38.474 GB, and the commands leave out okvqa, science_qa_img, doc_qa, mmmu" in text
    assert "states 20 GB for downloads/val2014; the files themselves are 6.3 GB (public): 40,504 files" in text
    assert "in blocks of 512 KiB take 19.78 GiB" in text
    assert "82,783 files in blocks of 512 KiB take 40.42 GiB" in text
    assert "does not mention visual-genome, about 15 GB, and rows of tally_qa point to its images" in text


def test_the_catalogue_gives_the_same_totals(tmp_path: Path) -> None:
    if not (ROOT / "catalog/nine.yaml").is_file():
        pytest.skip("catalog/nine.yaml is not there")
    catalogue = load_catalogue(ROOT / "catalog")
    roots = Roots.below(tmp_path)
    roots.caches.mkdir(parents=True)
    roots.raw.mkdir(parents=True)
    plan = plan_staging(closure(catalogue, select(catalogue, ["nine"])), roots, None)
    assert not plan.complete
    assert len([problem for problem in plan.problems if problem.entry]) == 9
    _checked_totals(plan)
    assert plan.totals.samples == 300_725
    assert "the origin prints 304,625 samples; its own table adds up to 300,725" in plan.contradictions
    assert {entry.name for entry in entries()} <= set(catalogue)
