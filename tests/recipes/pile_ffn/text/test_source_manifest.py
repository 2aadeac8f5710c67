from pathlib import Path

import pytest

from tests.recipes.pile_ffn.small_source import study_of
from trackyard.errors import ConfigError, DataError
from trackyard.recipes.pile_ffn.text.source_manifest import SourceFile, SourceManifest, refuse_shared, training_roles


def manifest(folder: Path) -> SourceManifest:
    (folder / "text").mkdir()
    (folder / "text" / "a.txt").write_text("a")
    file = SourceFile.of(folder, folder / "text" / "a.txt", "val")
    found = SourceManifest(text={"kind": "files"}, model={"id": "made"}, files=(file,))
    found.write(folder)
    return found


def test_it_comes_back_and_proves_its_files(tmp_path: Path) -> None:
    written = manifest(tmp_path)
    found = SourceManifest.read(tmp_path)
    assert found == written
    found.prove(tmp_path)
    assert [file.path for file in found.of_role("val")] == ["text/a.txt"]
    with pytest.raises(DataError, match="no file for test, only for val"):
        found.of_role("test")
    (tmp_path / "text" / "a.txt").write_text("b")
    with pytest.raises(DataError, match=r"a\.txt is absent, or its bytes"):
        found.prove(tmp_path)


def test_a_manifest_that_lacks_a_field(tmp_path: Path) -> None:
    manifest(tmp_path)
    path = tmp_path / "manifest.json"
    path.write_text(path.read_text().replace('"role"', '"rule"'))
    with pytest.raises(DataError, match=r"lacks or misstates a field: .*role"):
        SourceManifest.read(tmp_path)


def test_a_file_has_one_role() -> None:
    refuse_shared({"train-00": ("a",), "train-01": ("b",)})
    with pytest.raises(ConfigError, match="b is named for train-01 and for val"):
        refuse_shared({"train-00": ("a",), "train-01": ("b",), "val": ("b",)})


def test_roles_of_a_study(tmp_path: Path) -> None:
    assert training_roles(study_of(tmp_path).parameters) == ("train-00", "train-01", "pretrain")
