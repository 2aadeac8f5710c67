"""One small study and one set of fetched benchmarks for all tests of this folder; who writes takes a copy."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.loopback.hub import LoopbackHub
from tests.loopback.images import image_server
from tests.recipes.datacomp.evaluating.published import REPOSITORIES, SPLITS, published, write_catalogue
from tests.recipes.datacomp.evaluating.small_study import copied, instead_of_training, make_study
from trackyard.acquire.hub.fetch import fetch_repository
from trackyard.acquire.images.fetch import UrlImageParameters, UrlRow, fetch_images
from trackyard.acquire.places import Places
from trackyard.acquire.web.addresses import AddressPolicy
from trackyard.recipes.datacomp.study import Study

GOOD = 5
"""Pictures by address that are there; one of VSR's is gone."""


@pytest.fixture(autouse=True)
def commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the code: a scratch folder is no checkout."""
    monkeypatch.setenv("TRACKYARD_COMMIT", "ab" * 20)


@pytest.fixture(scope="session")
def made_study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    with pytest.MonkeyPatch.context() as patch:
        instead_of_training(patch)
        return make_study(tmp_path_factory.mktemp("study"))


@pytest.fixture
def study(made_study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """With everything that an evaluation reads, and nothing measured yet."""
    instead_of_training(monkeypatch)
    return copied(made_study, tmp_path)


@pytest.fixture(scope="session")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository's root with all four benchmarks fetched; one picture of VSR is gone."""
    root = tmp_path_factory.mktemp("root")
    cache = root / "hub"
    with LoopbackHub() as hub, image_server() as server:
        urls = [server.url(f"/ok/{number}") for number in range(GOOD)] + [server.url("/404/1")]
        sources = dict(published(hub, urls, tuple(REPOSITORIES)))
        for name, source in sources.items():
            fetch_repository(source, cache=cache, endpoint=hub.url)
            if name in SPLITS:
                fetch_images(
                    [UrlRow(url) for url in urls],
                    Places.of(root, {}).raw / name / "images",
                    parameters=UrlImageParameters(acceptance=(0.0, 1.0), workers=1),
                    policy=AddressPolicy.parse(("127.0.0.0/8",)),
                )
    write_catalogue(root / "catalog", {name: source.revision for name, source in sources.items()})
    return root


@pytest.fixture
def cache_of(fetched: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(fetched / "hub"))
    monkeypatch.delenv("TRACKYARD_RAW", raising=False)
    return fetched
