"""Each thing that can be wrong with an image is named; with nothing wrong, what was examined is counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.launch.image.fake_apptainer import INSIDE, LABELS, FakeApptainer
from trackyard.acquire.files.stat_cache import StatCache, place_of, stamp
from trackyard.errors import EnvironmentLacking
from trackyard.launch.image.finding import named_image
from trackyard.launch.image.lock_file import Locked
from trackyard.launch.image.verifying import checks
from trackyard.launch.preflight import Report, run_checks

World = tuple[Path, FakeApptainer, Locked]


@pytest.fixture
def world(root: Path, apptainer: FakeApptainer, locked: Locked) -> World:
    return root, apptainer, locked


def report(world: World) -> Report:
    return run_checks(checks(world[0], "small", world[1], site=None))


def test_a_fresh_image_is_proved(world: World) -> None:
    found = report(world)
    assert found.ok
    assert [(row.name, row.examined) for row in found.rows] == [
        ("file", 1), ("definition", 1), ("package lock", 1), ("labels", 9), ("packages", 4),
        ("inside", 4),
    ]  # fmt: skip


def changed(name: str, old: str, new: str) -> Callable[[World], None]:
    def change(world: World) -> None:
        path = world[0] / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return change


def label(name: str, value: str) -> Callable[[World], None]:
    def change(world: World) -> None:
        assert world[1].labels[name] != value
        world[1].labels[name] = value

    return change


def bytes_of_the_image(world: World) -> None:
    (world[0] / "containers" / "small.sif").write_bytes(b"imagf")


def no_image(world: World) -> None:
    (world[0] / "containers" / "small.sif").unlink()


def no_sbom(world: World) -> None:
    (world[0] / "containers" / "small.sbom.json").unlink()


OCI = "org.opencontainers.image."
WRONG: dict[str, tuple[Callable[[World], None], str, str]] = {
    "byte": (bytes_of_the_image, "file", "is not the image that"),
    "no file": (no_image, "file", "the image small is not at"),
    "definition": (changed("containers/small.def", "set -eu", "set -e"), "definition", "the image small was made from"),
    "package lock": (changed("requirements.lock", "1.0", "1.1"), "package lock", "requirements.lock has sha256"),
    "label lock": (label("org.trackyard.lock", "0" * 64), "labels", "the label org.trackyard.lock"),
    "label base": (label(f"{OCI}base.digest", "sha256:" + "c" * 64), "labels", "base.digest"),
    "label base name": (label(f"{OCI}base.name", "ubuntu"), "labels", "base.name"),
    "label created": (label(f"{OCI}created", "yesterday"), "labels", "'yesterday'"),
    "label title": (label(f"{OCI}title", "trackyard-cpu"), "labels", "is titled 'trackyard-cpu'"),
    "label cuda": (label("org.trackyard.cuda", "12.8"), "labels", "org.trackyard.cuda"),
    "label driver": (label("org.trackyard.driver", "none"), "labels", "has '580'"),
    "label revision": (label(f"{OCI}revision", "f" * 40), "labels", "which this checkout does not have"),
    **{f"no {name}": (label(name, ""), "labels", f"lacks the labels {name}") for name in LABELS if "cuda" not in name
       and "driver" not in name},
    "sbom of another": (changed("containers/small.sbom.json", '"content": "', '"content": "0'), "packages", "hashes"),
    "sbom without purl": (changed("containers/small.sbom.json", '"purl": "pkg:', '"purl": "'), "packages", "purl 'd"),
    "package list": (changed("containers/small.packages.txt", "24.0", "24.1"), "packages", "differ, first in pip 24.0"),
    "no sbom": (no_sbom, "packages", "small.sbom.json does not exist"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_named_and_the_rest_is_examined_all_the_same(world: World, wrong: str) -> None:
    change, row, what = WRONG[wrong]
    change(world)
    found = report(world)
    assert not found.ok
    failed = [each for each in found.rows if each.state == "failed"]
    # A list that was changed is neither what the SBOM has nor what is installed.
    assert [each.name for each in failed] == ([row, "inside"] if wrong == "package list" else [row])
    assert what in failed[0].detail
    assert "trackyard image" in failed[0].fix or "git" in failed[0].fix or "build it again" in failed[0].fix
    assert len(found.rows) == 6
    skipped = [(each.name, each.detail) for each in found.rows if each.state == "skipped"]
    assert skipped == ([("inside", "not entered: the file is not the locked one")] if row == "file" else [])


def test_uncommitted_sources_are_said(world: World) -> None:
    world[1].labels[f"{OCI}revision"] += "-dirty"
    found = report(world)
    assert found.ok
    assert "built from uncommitted files" in found.rows[3].detail


def test_a_package_that_the_list_has_and_the_sbom_has_not(world: World) -> None:
    path = world[0] / "containers" / "small.sbom.json"
    document = json.loads(path.read_text())
    dropped = document["components"].pop()
    path.write_text(json.dumps(document))
    assert f"differ, first in {dropped['name']}" in report(world).rows[4].detail


INSTALLED: dict[str, tuple[list[list[str]], str]] = {
    "missing": ([["pip", "24.0"]], ": pip Tiny_Thing 1.0+cpu is listed, not inside"),
    "another version": (
        [["Tiny_Thing", "1.1"], ["pip", "24.0"]],
        ": pip Tiny_Thing 1.0+cpu is listed, not inside; pip Tiny_Thing 1.1 is inside, not listed",
    ),
    "more": ([*INSIDE["pip"], ["evil", "6"]], ": pip evil 6 is inside, not listed"),
    "many more": (
        [*INSIDE["pip"], *([f"evil{n}", "6"] for n in range(7))],
        "evil4 6 is inside, not listed; and 2 more",
    ),
}


@pytest.mark.parametrize("how", INSTALLED)
def test_the_lists_are_compared_with_what_is_installed_inside(world: World, how: str) -> None:
    installed, said = INSTALLED[how]
    world[1].inside["pip"] = installed
    (failed,) = [row for row in report(world).rows if row.state == "failed"]
    assert failed.name == "inside"
    assert failed.detail.endswith(said)


def test_bytes_that_are_not_locked_are_not_run(world: World) -> None:
    def entered() -> int:
        return sum("exec" in argv for argv, _ in world[1].calls)

    before = entered()
    assert report(world).ok
    assert entered() == before + 1, "the control"
    bytes_of_the_image(world)
    report(world)
    assert entered() == before + 1


def test_an_image_that_cannot_be_entered_is_not_proved(world: World) -> None:
    world[1].inside = {}
    found = report(world)
    assert not found.ok
    assert [(row.name, row.state) for row in found.rows][-1] == ("inside", "failed")
    assert "does not say what is installed in it" in found.rows[-1].detail


def test_an_image_that_is_not_locked(root: Path, apptainer: FakeApptainer) -> None:
    with pytest.raises(EnvironmentLacking, match="has no image 'small'"):
        checks(root, "small", apptainer, site=None)


def test_the_bytes_are_read_whatever_is_remembered_of_the_file(world: World) -> None:
    root, _, locked = world
    path = root / "containers" / "small.sif"
    path.write_bytes(b"imagf")
    place = place_of(path)
    known = f"{stamp(path.stat())} {locked.sif_sha256}"
    StatCache.read(place).remember(place, path, {path.name: known}, next_turn=False)
    assert named_image(root, "small", None) == (path, locked.digest), "the control: what is remembered is believed"
    assert [row.name for row in report(world).rows if row.state == "failed"] == ["file"]


def test_the_fix_of_a_lost_list_keeps_the_lock(world: World) -> None:
    no_sbom(world)
    (failed,) = [row for row in report(world).rows if row.state == "failed"]
    assert failed.fix.startswith("trackyard image lock small --from ")
    assert "git" not in failed.fix
