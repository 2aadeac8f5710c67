"""Where stored paths lie: below a root, through a link or a map, or outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from trackyard.acquire.staging.roots import Locator, Placed, Roots
from trackyard.errors import ConfigError, EnvironmentLacking


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    found = Roots.below(tmp_path / "real")
    found.caches.mkdir(parents=True)
    found.raw.mkdir(parents=True)
    return found


def test_the_usual_arrangement(tmp_path: Path) -> None:
    roots = Roots.below(tmp_path)
    assert (roots.hf_home, roots.molmo) == (tmp_path / "huggingface", tmp_path / "molmo")
    assert (roots.caches, roots.raw) == (tmp_path / "huggingface/datasets", tmp_path / "molmo/torch_datasets")
    assert roots.path("mapped/x") == tmp_path / "molmo/mapped/x"


def test_a_path_below_a_root_is_placed_whether_or_not_it_is_there(roots: Roots) -> None:
    stored = f"{roots.hf_home}/datasets/downloads/../downloads/x.jpg"
    assert Locator(roots, {}).locate(stored) == Placed(
        "hf_home", "datasets/downloads/x.jpg", roots.hf_home / "datasets/downloads/x.jpg"
    )
    assert Locator(roots, {}).locate(f"{roots.molmo}/a.jpg") == Placed("molmo", "a.jpg", roots.molmo / "a.jpg")


@pytest.mark.parametrize(
    "stored", ["/purged/scratch/x.jpg", "{root}/huggingface-old/x.jpg", "{root}/huggingface/../x.jpg"]
)
def test_other_paths_are_outside(roots: Roots, stored: str) -> None:
    assert Locator(roots, {}).locate(stored.format(root=roots.hf_home.parent)) is None


def test_either_form_of_a_linked_scratch_is_known(roots: Roots, tmp_path: Path) -> None:
    link = tmp_path / "scratch"
    link.symlink_to(tmp_path / "real")
    through_link = Roots.below(link)
    for stored in (f"{link}/molmo/a.jpg", f"{tmp_path}/real/molmo/a.jpg"):
        found = Locator(through_link, {}).locate(stored)
        assert found is not None
        assert (found.root, found.relative) == ("molmo", "a.jpg")
    other = tmp_path / "another-name"
    other.symlink_to(tmp_path / "real")
    assert Locator(roots, {}).locate(f"{other}/molmo/a.jpg") is not None


def test_a_map_leads_to_a_root_or_makes_one(roots: Roots, tmp_path: Path) -> None:
    images = tmp_path / "vg"
    images.mkdir()
    locator = Locator(roots, {Path("/old/hf"): roots.hf_home, Path("/old/hf/vg"): images})
    assert locator.locate("/old/hf/datasets/x.jpg") == Placed(
        "hf_home", "datasets/x.jpg", roots.hf_home / "datasets/x.jpg"
    )
    found = locator.locate("/old/hf/vg/1.jpg")  # the longest prefix decides
    assert found is not None
    assert found.root.startswith("mapped/vg-")
    assert (found.relative, found.path) == ("1.jpg", images / "1.jpg")
    assert locator.locate("/old/hfx/1.jpg") is None


def test_a_map_that_means_nothing_is_refused(roots: Roots, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a folder"):
        Locator(roots, {Path("/old"): tmp_path / "absent"})
    with pytest.raises(ConfigError, match="is not absolute") as raised:
        Locator(roots, {Path("old"): tmp_path})
    assert raised.value.exit_code == 2


def test_an_unreadable_or_unwritable_root_is_named(roots: Roots, tmp_path: Path) -> None:
    roots.check_readable()
    Roots.below(tmp_path / "new/deep").check_writable()
    with pytest.raises(
        EnvironmentLacking, match=f"hf_home root {tmp_path}/absent/huggingface cannot be read"
    ) as raised:
        Roots.below(tmp_path / "absent").check_readable()
    assert raised.value.exit_code == 3
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentLacking, match="cannot be written"):
        Roots.below(tmp_path / "file").check_writable()
