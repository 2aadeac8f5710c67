"""How stages run inside: what they see, where they may write, and who they are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cluster.small_image import git
from trackyard.errors import ConfigError, EnvironmentLacking
from trackyard.launch.image.entering import Bind, Entering
from trackyard.launch.image.inside import entering_for
from trackyard.launch.sites import Network, Partition, Site
from trackyard.runner import SystemRunner

DIGEST = "sha256:" + "a" * 64


def site(**given: object) -> Site:
    partitions = {"p": Partition(device="any", cores_per_node=1)}
    return Site.model_validate({"name": "s", "default_partition": "p", "partitions": partitions, **given})


def enter(root: Path, at: Site | None = None, **environment: str) -> Entering:
    disk = root.parent / "disk"
    disk.mkdir(exist_ok=True)
    return entering_for(
        root, root / "a.sif", DIGEST, ("true",), site=at, gpus=False, runner=SystemRunner(),
        environment={"TMPDIR": str(disk), "HF_HOME": str(root.parent / "hub-home")} | environment,
    )  # fmt: skip


def test_the_checkout_is_the_code_and_its_commit_the_identity(root: Path) -> None:
    inside = enter(root, PYTHONPATH="/evil", RANK="1").environment
    assert inside["PYTHONPATH"] == str(root / "src")
    assert (inside["PYTHONNOUSERSITE"], inside["RANK"], inside["HF_HUB_OFFLINE"]) == ("1", "1", "1")
    assert inside["TRACKYARD_IMAGE_DIGEST"] == DIGEST
    assert inside["TRACKYARD_COMMIT"] == git(root, "rev-parse", "HEAD")
    assert inside["TRACKYARD_DIRTY"] == ""
    (root / "src" / "more.py").write_text("1\n")
    assert len(enter(root).environment["TRACKYARD_DIRTY"]) == 64


def test_a_digest_that_was_there_before_is_replaced(root: Path) -> None:
    inside = enter(root, TRACKYARD_IMAGE_DIGEST="sha256:" + "f" * 64, HF_HUB_OFFLINE="0").environment
    assert (inside["TRACKYARD_IMAGE_DIGEST"], inside["HF_HUB_OFFLINE"]) == (DIGEST, "1")


def test_writable_are_the_checkout_and_the_disk_of_the_node(root: Path) -> None:
    (root.parent / "hub-home" / "hub").mkdir(parents=True)
    (root.parent / "hub-home" / "token").write_text("t")
    found = enter(root)
    disk, hub = root.parent / "disk", root.parent / "hub-home" / "hub"
    assert found.workdir == root
    assert found.binds == (Bind(source=disk, target=disk), Bind(source=hub, target=hub, read_only=True))
    assert found.environment["HF_HUB_CACHE"] == str(hub)
    assert found.environment["TMPDIR"] == str(disk)
    assert Path(found.environment["TRITON_CACHE_DIR"]).is_relative_to(disk)
    assert (disk / Path(found.environment["TRITON_CACHE_DIR"]).relative_to(disk).parts[0]).stat().st_mode & 0o77 == 0


def test_of_a_site(root: Path) -> None:
    at = site(
        binds=["${DATA_HERE}/x:/x:ro", "/y:/z"], network=Network(environment={"NCCL_IB_HCA": "mlx5"}),
        local_disk_variable="NODE_DISK",
    )  # fmt: skip
    found = enter(root, at, NODE_DISK=str(root.parent), NCCL_IB_HCA="host", DATA_HERE="/data")
    assert found.binds[1:] == (
        Bind(source=Path("/data/x"), target=Path("/x"), read_only=True), Bind(source=Path("/y"), target=Path("/z"))
    )  # fmt: skip
    assert found.environment["NCCL_IB_HCA"] == "mlx5"
    assert found.environment["TMPDIR"] == str(root.parent)
    with pytest.raises(EnvironmentLacking, match="NODE_DISK is not set"):
        enter(root, at, DATA_HERE="/data")
    with pytest.raises(EnvironmentLacking, match=r"NODE_DISK=.*gone is no directory"):
        enter(root, at, NODE_DISK=str(root / "gone"))


@pytest.mark.parametrize("text", ["$UNSET_HERE/a:/b", "/a:/b$"])
def test_a_bind_with_a_variable_that_is_not_set(root: Path, text: str) -> None:
    with pytest.raises(EnvironmentLacking, match="binds: ") as raised:
        enter(root, site(binds=[text]))
    assert raised.value.fix.endswith("correct sites/s.yaml")


def test_caches_of_somebody_else_are_not_used(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(root)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    (root.parent / "disk" / "trackyard-12345").mkdir()
    with pytest.raises(EnvironmentLacking, match="trackyard-12345 belongs to user "):
        enter(root)


def test_a_link_in_place_of_the_caches_is_refused(root: Path) -> None:
    place = root.parent / "disk" / f"trackyard-{os.getuid()}"
    place.parent.mkdir()
    (root.parent / "mine").mkdir()
    for target in (root.parent / "mine", root.parent / "gone"):
        place.symlink_to(target)
        with pytest.raises(EnvironmentLacking, match="and is no directory"):
            enter(root)
        place.unlink()
    assert not list((root.parent / "mine").iterdir())


def test_where_links_of_the_checkout_and_dvc_lead_is_seen(root: Path, tmp_path: Path) -> None:
    far, cache, shared = tmp_path / "far", tmp_path / "cache-of-dvc", tmp_path / "shared"
    for folder in (far, cache, shared / "deep", root / ".dvc", root / "artifacts"):
        folder.mkdir(parents=True)
    (root / "runs").symlink_to(far)
    (tmp_path / "scratch").symlink_to(shared)
    (root / "data").symlink_to("../scratch/deep")
    (root / "raw").symlink_to("artifacts")
    (root / ".dvc" / "config").write_text(
        "[core]\n    remote = a\n['remote \"a\"']\n    url = /a%b\n[cache]\n    dir = gone\n"
    )
    (root / ".dvc" / "config.local").write_text("[cache]\n    type = symlink\n    dir = ../../cache-of-dvc\n")
    found = enter(root).binds
    expected = {
        (far, far),
        (cache, cache),
        (shared / "deep", shared / "deep"),
        (shared / "deep", tmp_path / "scratch/deep"),
    }
    assert {(bind.source, bind.target) for bind in found[:-1]} == expected
    assert found[-1].target == root.parent / "disk"
    at = site(binds=[f"{far}:{far}:ro"])
    assert [bind.read_only for bind in enter(root, at).binds if bind.target == far] == [True], "the site's word counts"
    (root / ".dvc" / "config.local").write_text("dir = x\n")
    with pytest.raises(ConfigError, match=r"config\.local: File contains no section headers"):
        enter(root)
