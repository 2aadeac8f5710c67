"""Parts of the readers that the miniature does not reach: forms of older builds, turned pictures, repeated ids."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from trackyard.acquire.files.manifest import FileDigest, FileManifest
from trackyard.acquire.media import UnreadableMedia, probe_image
from trackyard.acquire.staging.columns import IMAGE_TYPE
from trackyard.digest import digest_file
from trackyard.errors import DataError
from trackyard.evaluate.tasks.task import Task
from trackyard.recipes.nine.layouts.opening import open_questions
from trackyard.recipes.nine.layouts.staged_questions import image_of

OKVQA = Task(name="okvqa", entry="okvqa", layout="okvqa", new_tokens=16, metric="vqa")
ANSWERS = [f"answer {number}" for number in range(10)]


def _encoded(turned: int = 1) -> bytes:
    sink = BytesIO()
    image = Image.new("RGB", (30, 20), "red")
    exif = image.getexif()
    exif[0x0112] = turned
    image.save(sink, "JPEG", exif=exif)
    return sink.getvalue()


def _staged(root: Path, answers: Any, stored: Any, *, ids: tuple[int, ...] = (1, 2)) -> Path:
    """A staged OK-VQA of one shard, its answers in the given form; its last row has no image."""
    table = pa.table(
        {
            "image": pa.array([{"bytes": _encoded(), "path": "a.jpg"}, None], IMAGE_TYPE),
            "question": ["?", "?"],
            "question_id": pa.array(ids),
            "answers": pa.array([answers] * 2, stored),
        }
    )
    path = root / "okvqa/validation/part-00000.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(table, path)
    tables = [{"name": "validation", "identity": "", "counts": {}, "rows": [["validation/part-00000.parquet", 2]]}]
    file = FileDigest("validation/part-00000.parquet", path.stat().st_size, digest_file(path))
    FileManifest(name="okvqa", source={"relocate": "embed", "tables": tables}, files=(file,)).write(root / "okvqa")
    return root


FORMS = [
    (
        [{"answer": "stem", "raw_answer": text} for text in ANSWERS],
        pa.list_(pa.struct([("answer", pa.string()), ("raw_answer", pa.string())])),
    ),
    (
        {"answer": ["stem"] * 10, "raw_answer": ANSWERS},
        pa.struct([("answer", pa.list_(pa.string())), ("raw_answer", pa.list_(pa.string()))]),
    ),
    (ANSWERS, pa.list_(pa.string())),
]


@pytest.mark.parametrize(("answers", "stored"), FORMS)
def test_answers_of_okvqa_are_those_that_people_gave_in_every_form(tmp_path: Path, answers: Any, stored: Any) -> None:
    question = open_questions(OKVQA, _staged(tmp_path, answers, stored))[0]
    assert question.references == tuple(ANSWERS)
    assert (question.media[0].width, question.media[0].height) == (30, 20)


def test_a_question_about_an_image_that_is_not_there_is_refused(tmp_path: Path) -> None:
    opened = open_questions(OKVQA, _staged(tmp_path, ANSWERS, pa.list_(pa.string())))
    with pytest.raises(DataError, match="okvqa:validation:2 has no image"):
        opened[1]
    assert opened.bare(1).references == tuple(ANSWERS)


def test_ids_that_come_twice_and_answers_of_another_form_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="two questions have the id 'okvqa:validation:7'"):
        open_questions(OKVQA, _staged(tmp_path / "a", ANSWERS, pa.list_(pa.string()), ids=(7, 7)))
    with pytest.raises(DataError, match="the column 'answers' is string, not list of struct of raw_answer: text or"):
        open_questions(OKVQA, _staged(tmp_path / "b", "yes", pa.string()))


@pytest.mark.parametrize("turned", range(1, 9))
def test_sizes_are_those_of_the_upright_picture(turned: int) -> None:
    data = _encoded(turned)
    assert image_of(data, "a.jpg") == probe_image(data, "a.jpg")


def test_bytes_that_are_no_image_are_refused() -> None:
    with pytest.raises(UnreadableMedia):
        image_of(b"no image", "a.jpg")
