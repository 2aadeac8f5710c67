"""VQA v2, TextVQA, OK-VQA, ST-VQA, DocVQA, TallyQA and COCO captions: texts that are compared with references.

Columns are those of the origin's builders (VQA v2, TallyQA, captions: ChulanZhang/molmo_hf @ 09bce1f) and of the hub's
data sets. Source: nine-datasets spec sections 1 and 11.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow.compute as pc

from trackyard.evaluate.tasks.question import Question
from trackyard.feed.styles import style_of
from trackyard.feed.templates import templates_of
from trackyard.recipes.nine.layouts.columns import INTEGER, NAME, TEXT, TEXTS, Each, Either, Fields
from trackyard.recipes.nine.layouts.staged import SplitTable
from trackyard.recipes.nine.layouts.staged_questions import Asked, StagedLayout, names_of


def _vqa_names(table: SplitTable) -> list[list[str]]:
    messages = table.texts["messages"].combine_chunks()
    names = iter(pc.struct_field(messages.flatten(), "question_id").to_pylist())
    # Every other value of 200,000 questions is left where it lies.
    return [[str(next(names)) for _ in range(count or 0)] for count in pc.list_value_length(messages).to_pylist()]


def _vqa(row: Mapping[str, Any], asked: Asked) -> Question:
    """One message of an image; questions of an image are drawn together."""
    message = row["messages"][asked.which]
    return Question(
        id=asked.id,
        question=message["question"],
        media=asked.media,
        references=tuple(message["answers"]),
        cluster=str(row["image_id"]),
    )


def _answered(row: Mapping[str, Any], asked: Asked) -> Question:
    """A row with a question and the list of its answers."""
    return Question(id=asked.id, question=row["question"], media=asked.media, references=tuple(row["answers"]))


def _okvqa(row: Mapping[str, Any], asked: Asked) -> Question:
    """Answers as people gave them (raw_answer); the field answer beside it is stemmed."""
    answers = row["answers"]
    if isinstance(answers, Mapping):
        answers = answers["raw_answer"]
    texts = [answer if isinstance(answer, str) else answer["raw_answer"] for answer in answers]
    return Question(id=asked.id, question=row["question"], media=asked.media, references=tuple(texts))


SIMPLE, COMPLEX = "simple", "complex"


def _tally_names(table: SplitTable) -> list[list[str]]:
    """Questions come from several sources whose numbers may meet, so that the image is a part of the name."""
    numbers = pc.struct_field(table.texts["questions"].combine_chunks(), "question_id").to_pylist()
    images = table.texts["image/filename"].to_pylist()
    return [[f"{image}/{number}" for number in of_image] for image, of_image in zip(images, numbers, strict=True)]


def _tally(row: Mapping[str, Any], asked: Asked) -> Question:
    """One question of an image, never all of them in one prompt (spec section 11)."""
    questions: Mapping[str, Sequence[Any]] = row["questions"]
    return Question(
        id=asked.id,
        question=questions["question"][asked.which],
        media=asked.media,
        references=(str(questions["answer"][asked.which]),),
        cluster=row["image/filename"],
        groups={"kind": SIMPLE if questions["issimple"][asked.which] == 1 else COMPLEX},
    )


def _caption(row: Mapping[str, Any], asked: Asked) -> Question:
    """An image with all its captions; it is asked for with the first wording of its task's style."""
    wordings = templates_of(style_of(asked.task.style))
    return Question(
        id=asked.id,
        question=wordings[0] if wordings else "",
        media=asked.media,
        references=tuple(row["captions"]),
    )


_MESSAGE = Fields({"question": TEXT, "answers": TEXTS, "question_id": INTEGER})
_RAW_ANSWERS = Either((Each(Fields({"raw_answer": TEXT})), Fields({"raw_answer": TEXTS}), TEXTS))
_COUNTS = Fields({"question": TEXTS, "answer": Each(INTEGER), "issimple": Each(INTEGER), "question_id": Each(INTEGER)})

SHORT_ANSWERS = {
    "vqa_v2": StagedLayout(texts={"messages": Each(_MESSAGE), "image_id": NAME}, names=_vqa_names, make=_vqa),
    "text_vqa": StagedLayout(
        texts={"question_id": NAME, "question": TEXT, "answers": TEXTS}, names=names_of("question_id"), make=_answered
    ),
    "okvqa": StagedLayout(
        texts={"question_id": NAME, "question": TEXT, "answers": _RAW_ANSWERS},
        names=names_of("question_id"),
        make=_okvqa,
    ),
    "st_qa": StagedLayout(
        texts={"question_id": NAME, "question": TEXT, "answers": TEXTS},
        images=("file_path",),
        names=names_of("question_id"),
        make=_answered,
    ),
    "doc_qa": StagedLayout(
        texts={"questionId": NAME, "question": TEXT, "answers": TEXTS}, names=names_of("questionId"), make=_answered
    ),
    "tally_qa": StagedLayout(texts={"image/filename": TEXT, "questions": _COUNTS}, names=_tally_names, make=_tally),
    "coco_caption": StagedLayout(
        texts={"image_id": NAME, "captions": TEXTS}, names=names_of("image_id"), make=_caption
    ),
}
