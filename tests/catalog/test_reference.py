"""The lists that the catalogue is checked against."""

from __future__ import annotations

from pathlib import Path

import pytest

from trackyard.catalog.reference import load_founding_names, load_reference
from trackyard.errors import ConfigError

CATALOGUE = Path(__file__).resolve().parents[2] / "catalog"


def test_reference() -> None:
    reference = load_reference(CATALOGUE)
    assert sum(row.datasets for row in reference.groups) == 104
    assert sum(row.examples for row in reference.groups) == 9_315_140
    assert sum(reference.access.values()) == 104


def test_founding_documents() -> None:
    documents = load_founding_names(CATALOGUE).documents
    assert list(documents) == ["000", "001", "002", "003", "004"]
    assert all(document.names for document in documents.values())
    assert documents["001"].names["okvqa"] == "ok-vqa"
    assert documents["000"].names["okvqa"] == "okvqa"


@pytest.mark.parametrize("load", [load_reference, load_founding_names])
def test_a_catalogue_without_them(tmp_path: Path, load: object) -> None:
    assert callable(load)
    with pytest.raises(ConfigError, match="does not exist"):
        load(tmp_path)
