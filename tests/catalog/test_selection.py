"""Selections, names, aliases and the closure of needs."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.catalog.entries import Entry, MediaRecipe, load_catalogue
from trackyard.catalog.selection import SELECTIONS, closure, find, founding, select
from trackyard.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
NINE = [
    "coco_2014_vqa", "text_vqa", "okvqa", "science_qa_img", "st_qa", "doc_qa", "tally_qa", "mmmu", "coco_caption",
]  # fmt: skip


@cache
def shipped() -> dict[str, Entry]:
    return load_catalogue(ROOT / "catalog")


def names(entries: tuple[Entry, ...]) -> list[str]:
    return [entry.name for entry in entries]


def made(name: str, *needs: str) -> Entry:
    recipe = MediaRecipe(kind="none")
    return Entry(
        name=name, title=name, roles=("train",), group="g", media="image", access="auto", recipe=recipe, needs=needs
    )


def test_stages_and_tracks() -> None:
    catalogue = shipped()
    assert sorted(names(select(catalogue, ["stage1"]))) == [
        "cosyn-point", "pixmo-cap", "pixmo-count", "pixmo-points", "tulu",
    ]  # fmt: skip
    assert len(select(catalogue, ["stage2"])) == 105
    assert select(catalogue, ["stage3"]) == select(catalogue, ["stage2"])
    assert names(select(catalogue, ["nine"])) == NINE
    assert names(select(catalogue, ["pile"])) == [
        "pile-uncopyrighted",
        "lambada",
        "hellaswag",
        "winogrande",
        "truthfulqa",
    ]
    assert set(names(select(catalogue, ["datacomp"]))) == {
        "datacomp-small", "blink", "vsr-random", "vsr-zeroshot", "spatialrgpt-bench",
    }  # fmt: skip


def test_all_is_the_union_of_the_others() -> None:
    rest = [name for name in SELECTIONS if name != "all"]
    assert select(shipped(), ["all"]) == select(shipped(), rest)
    assert all(select(shipped(), [name]) for name in SELECTIONS)


@given(st.data())
def test_a_selection_is_unique_and_in_the_order_of_the_catalogue(data: st.DataObject) -> None:
    catalogue = shipped()
    aliases = [alias for entry in catalogue.values() for alias in entry.aliases]
    wanted = data.draw(st.lists(st.sampled_from([*SELECTIONS, *catalogue, *aliases]), max_size=8))
    found = names(select(catalogue, wanted))
    order = list(catalogue)
    assert all(order.index(a) < order.index(b) for a, b in pairwise(found))
    assert found == names(select(catalogue, [*reversed(wanted), *wanted]))
    for name in wanted:
        assert name in SELECTIONS or find(catalogue, name).name in found


@given(st.data())
def test_a_closure_holds_every_need_and_nothing_else(data: st.DataObject) -> None:
    catalogue = shipped()
    asked = select(catalogue, data.draw(st.lists(st.sampled_from(list(catalogue)), max_size=5)))
    found = closure(catalogue, asked)
    kept = set(names(found))
    assert kept >= set(names(asked))
    assert all(need in kept for entry in found for need in entry.needs)
    assert kept == set(names(asked)) | {need for entry in found for need in entry.needs}
    assert closure(catalogue, found) == found


def test_needs_of_needs_and_circles() -> None:
    chain = {entry.name: entry for entry in (made("a", "b"), made("b", "c"), made("c", "a"), made("d"))}
    assert names(closure(chain, [chain["a"]])) == ["a", "b", "c"]
    assert names(closure(chain, [chain["d"]])) == ["d"]


@pytest.mark.parametrize(
    ("name", "needs"),
    [
        ("tallyqa", {"coco-train2014", "coco-val2014", "visual-genome"}),
        ("tally_qa", {"coco-train2014", "coco-val2014", "visual-genome"}),
        ("vqa-v2", {"coco-train2014", "coco-val2014"}),
        ("ok-vqa", {"coco-train2014", "coco-val2014"}),
        ("a-okvqa", {"coco-2017"}),
        ("coco_2014_vqa", {"coco-val2014"}),
        ("coco_caption", {"coco-val2014"}),
        ("st_qa", {"scene-text"}),
        ("st-vqa", {"scene-text"}),
        ("academicvideopoint-mevis", {"mevis"}),
        ("academicvideopoint-ovis", set()),
    ],
)
def test_what_an_entry_needs(name: str, needs: set[str]) -> None:
    assert set(names(closure(shipped(), [shipped()[name]]))) == {name} | needs


def test_a_video_track_needs_its_sixteen_sources_and_the_bundle_its_six_parts() -> None:
    catalogue = shipped()
    sources = {entry.name for entry in catalogue.values() if "source" in entry.roles}
    assert len(sources) == 16
    assert set(catalogue["molmo2-videotrack"].needs) == sources
    assert len(catalogue["molmo2-synmultiimageqa"].needs) == 6


def test_images_that_no_sample_uses_are_not_needed() -> None:
    assert "coco-test2015" not in names(closure(shipped(), select(shipped(), ["all"])))


def test_aliases() -> None:
    catalogue = shipped()
    assert find(catalogue, "a-okvqa-mc") is find(catalogue, "a-okvqa-da") is catalogue["a-okvqa"]
    assert find(catalogue, "okvqa").nine is not None
    assert find(catalogue, "001:okvqa") is catalogue["ok-vqa"]


@pytest.mark.parametrize(("name", "near"), [("pixmo-caps", "pixmo-cap"), ("stage4", "stage"), ("tally-qa", "tally")])
def test_an_unknown_name_tells_the_nearest(name: str, near: str) -> None:
    with pytest.raises(ConfigError, match=f"no dataset '{name}' in the catalogue; did you mean '{near}"):
        select(shipped(), [name])


def test_a_name_that_is_like_none() -> None:
    with pytest.raises(ConfigError) as error:
        select(shipped(), ["stage1", "%%%%"])
    assert "did you mean" not in error.value.what
    assert "stage1, stage2" in error.value.fix


def test_founding_lists() -> None:
    assert [len(founding(shipped(), stage)) for stage in (1, 2)] == [5, 42]
    assert len(founding(shipped())) == 43
