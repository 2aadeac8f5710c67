"""How an exported or published Molmo2 says its pictures are prepared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tiny_molmo2 import GEOMETRY, VIDEO, model, tokens
from trackyard.errors import DataError
from trackyard.evaluate.answering.preprocessing import IMAGE, OWN, TOGETHER, molmo2_preprocessing
from trackyard.evaluate.answering.preprocessing import VIDEO as VIDEO_FILE
from trackyard.publish.export import PREPROCESSING, write_export


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("export")
    write_export(made, model(), tokens(), GEOMETRY, VIDEO)
    return made


def test_an_export_says_it_itself_and_to_the_stock_processors(folder: Path) -> None:
    assert OWN == PREPROCESSING
    assert molmo2_preprocessing(folder) == (GEOMETRY, VIDEO)
    own = (folder / OWN).read_bytes()
    (folder / OWN).unlink()
    try:
        geometry, video = molmo2_preprocessing(folder)
    finally:
        (folder / OWN).write_bytes(own)
    assert geometry == GEOMETRY
    assert (video.max_frames, video.fps) == (VIDEO.max_frames, VIDEO.fps)


def test_processors_that_were_saved_together_are_read(folder: Path, tmp_path: Path) -> None:
    parts = {
        part: json.loads((folder / name).read_text())
        for part, name in (("image_processor", IMAGE), ("video_processor", VIDEO_FILE))
    }
    (tmp_path / TOGETHER).write_text(json.dumps(parts))
    assert molmo2_preprocessing(tmp_path)[0] == GEOMETRY
    (tmp_path / TOGETHER).write_text(json.dumps({"image_processor": parts["image_processor"]}))
    with pytest.raises(DataError, match="does not say how pictures are prepared: KeyError"):
        molmo2_preprocessing(tmp_path)


def test_what_is_not_said_is_not_guessed(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no readable preprocessor_config\.json"):
        molmo2_preprocessing(tmp_path)
    for name in ("preprocessor_config.json", "video_preprocessor_config.json"):
        (tmp_path / name).write_text(json.dumps({"size": {"height": 32}}))
    with pytest.raises(DataError, match="does not say how pictures are prepared: KeyError"):
        molmo2_preprocessing(tmp_path)
