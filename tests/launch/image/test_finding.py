"""The site's image is the locked bytes, or is not found."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trackyard.errors import ConfigError, DataError, EnvironmentLacking
from trackyard.launch.image import finding
from trackyard.launch.image.finding import file_sha256, image_of, named_image
from trackyard.launch.image.lock_file import Locked
from trackyard.launch.sites import Partition, Site


def site(image: str | None) -> Site:
    partitions = {"p": Partition(device="any", cores_per_node=1)}
    return Site(name="s", default_partition="p", partitions=partitions, image=image)


def test_the_image_of_the_site(root: Path, locked: Locked) -> None:
    assert image_of(root, site("small")) == (root / "containers" / "small.sif", locked.digest)


def test_a_site_without_an_image_and_an_image_without_a_lock(root: Path) -> None:
    with pytest.raises(ConfigError, match="site s names no image"):
        image_of(root, site(None))
    with pytest.raises(EnvironmentLacking, match="has no image 'small'") as raised:
        image_of(root, site("small"))
    assert raised.value.fix.startswith("trackyard image build small")


@pytest.mark.parametrize("data", [b"imagE", b"image2", b"imag", b""])
def test_other_bytes_stop(root: Path, locked: Locked, data: bytes) -> None:
    path = root / "containers" / locked.file
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"is not the image that containers/image\.lock\.json has") as raised:
        named_image(root, "small", None)
    assert raised.value.fix.endswith(f"trackyard image lock small --from {path}")


def test_a_file_that_is_not_there(root: Path, locked: Locked) -> None:
    (root / "containers" / locked.file).unlink()
    with pytest.raises(EnvironmentLacking, match="the image small is not at"):
        named_image(root, "small", None)


def test_a_file_is_read_once_until_it_changes(tmp_path: Path, apart: None, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.sif"
    path.write_bytes(b"one")
    monkeypatch.setattr(finding, "is_racy", lambda *_: False)
    reads: list[int] = []
    digest = finding.hashlib.file_digest
    monkeypatch.setattr(finding.hashlib, "file_digest", lambda *words: reads.append(1) or digest(*words))
    first = file_sha256(path)
    assert file_sha256(path) == first
    assert len(reads) == 1
    before = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file_sha256(path) != first, "neither size nor time of change say that it is another one"
    assert len(reads) == 2


def test_a_file_that_has_just_changed_is_not_remembered(tmp_path: Path, apart: None) -> None:
    path = tmp_path / "a.sif"
    path.write_bytes(b"one")
    file_sha256(path)
    assert not list((tmp_path / "cache").rglob("a.sif*"))
