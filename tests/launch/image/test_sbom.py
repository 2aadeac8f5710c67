"""What is inside, as CycloneDX 1.5: package URLs of both kinds, the same document for the same image."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.launch.image.fake_apptainer import FakeApptainer
from trackyard.errors import DataError, TrackyardError
from trackyard.launch.image.sbom import Package, package_list, packages_inside, require_sbom, sbom_document

SHA = "a" * 64


@pytest.fixture
def packages(tmp_path: Path, apart: None, apptainer: FakeApptainer) -> tuple[Package, ...]:
    (tmp_path / "a.sif").write_bytes(b"image")
    return packages_inside(tmp_path / "a.sif", f"sha256:{SHA}", tmp_path, apptainer)


def test_packages_of_the_distribution_and_of_python(packages: tuple[Package, ...]) -> None:
    assert [one.purl for one in packages] == [
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u1?arch=amd64&distro=debian-12",
        "pkg:deb/debian/zlib1g@1%3A1.2.13?arch=amd64&distro=debian-12",
        "pkg:pypi/tiny-thing@1.0%2Bcpu",
        "pkg:pypi/pip@24.0",
    ]
    assert package_list(packages[2:]) == "pip\tTiny_Thing\t1.0+cpu\npip\tpip\t24.0\n"


def test_the_same_image_gives_the_same_document(packages: tuple[Package, ...]) -> None:
    document = sbom_document("a", SHA, packages)
    assert document == sbom_document("a", SHA, packages)
    assert document["serialNumber"] != sbom_document("a", "b" * 64, packages)["serialNumber"]
    assert require_sbom(document, "x", sif_sha256=SHA) == 4


def without(key: str) -> Callable[[dict[str, Any]], object]:
    return lambda document: document.pop(key)


BROKEN: dict[str, Callable[[dict[str, Any]], object]] = {
    "format": without("bomFormat"),
    "spec": lambda document: document.update(specVersion="1.4"),
    "version": lambda document: document.update(version=0),
    "serial": lambda document: document.update(serialNumber="urn:uuid:1"),
    "component": lambda document: document.update(metadata={}),
    "other image": lambda document: document["metadata"]["component"]["hashes"][0].update(content="b" * 64),
    "nothing listed": lambda document: document.update(components=[]),
    "no version": lambda document: document["components"][0].pop("version"),
    "empty name": lambda document: document["components"][0].update(name=""),
    "purl": lambda document: document["components"][3].update(purl="pkg:npm/x@1"),
    "twice": lambda document: document["components"].append(document["components"][0]),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_document_is_refused(packages: tuple[Package, ...], how: str) -> None:
    document = copy.deepcopy(sbom_document("a", SHA, packages))
    BROKEN[how](document)
    with pytest.raises(DataError, match=r"^what: here: "):
        require_sbom(document, "here", sif_sha256=SHA)


@pytest.mark.parametrize("lacks", ["apt", "pip"])
def test_an_image_that_does_not_say_what_is_in_it(
    tmp_path: Path, apart: None, apptainer: FakeApptainer, lacks: str
) -> None:
    (tmp_path / "a.sif").write_bytes(b"image")
    apptainer.inside[lacks] = []
    with pytest.raises(TrackyardError, match="does not say what is installed"):
        packages_inside(tmp_path / "a.sif", f"sha256:{SHA}", tmp_path, apptainer)
