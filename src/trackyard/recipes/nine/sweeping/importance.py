"""The stage that measures what each decoder block is worth, on training rows. Source: nine-datasets spec section 5."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import islice, zip_longest

from trackyard.digest import digest_json, short
from trackyard.errors import ConfigError
from trackyard.evaluate.answering.prompt import Prompt
from trackyard.evaluate.answering.subject import Subject
from trackyard.evaluate.importance import (
    BlockImportance,
    answer_losses,
    block_importance,
    read_importance,
    write_importance,
)
from trackyard.evaluate.tasks.task import Task
from trackyard.feed.points import PointFormat
from trackyard.feed.prompts import Scope, Wording, write_dialogue
from trackyard.models.knobs import decoder_blocks
from trackyard.recipes.nine.layouts.rows import question_of
from trackyard.recipes.nine.results import write_result
from trackyard.recipes.nine.study import Study
from trackyard.recipes.nine.sweeping.opening import open_evaluated
from trackyard.row import Row
from trackyard.snapshot.reader import open_snapshot

STAGE = "importance"
TRAIN = "train"
MADE_FROM = 1_000_000
"""Rows of the miniature from this one on were not trained on."""


def importance(study: Study, say: Callable[[str], None]) -> None:
    """Measure the importance of every block, or check the scores that the parameters name; nothing without the knob."""
    started = time.monotonic()
    subject = open_evaluated(study)
    body = {"scores": _scores(study, subject, say)}
    header = study.header(
        STAGE,
        inputs={},
        device=str(subject.device),
        wall_s=round(time.monotonic() - started, 3),
        model=subject.digest,
    )
    write_result(study.document(STAGE), STAGE, header, body)


def _scores(study: Study, subject: Subject, say: Callable[[str], None]) -> list[float | None] | None:
    if study.parameters.knobs.blocks is None:
        say("importance  the knob `blocks` is not turned, so nothing is measured")
        return None
    if study.parameters.importance.file is None:
        rows = list(_rows(study))
        asked = [_asked(subject, row) for row in rows]
        scores = block_importance(lambda: answer_losses(subject, asked), subject.model)
        questions = digest_json([[list(map(int, prompt.ids)), list(answer)] for prompt, answer in asked])
        write_importance(
            study.importance, BlockImportance(model=subject.digest, questions=questions, scores=tuple(scores))
        )
        say(f"measured    {len(rows)} training rows, each block left out alone")
    found = read_importance(study.importance, model=subject.digest, blocks=len(decoder_blocks(subject.model)))
    told = " ".join("-" if score is None else f"{score:.3f}" for score in found.scores)
    say(f"importance  nats by block: {told}   (fingerprint {short(found.fingerprint)})")
    return list(found.scores)


def _rows(study: Study) -> Iterator[Row]:
    parameters = study.parameters.importance
    if parameters.snapshot is not None:
        datasets = open_snapshot(study.root / parameters.snapshot, list(parameters.datasets) or None)
        # One of each in turn, so that no data set decides alone.
        mixed = (row for turn in zip_longest(*(d.iterate(TRAIN) for d in datasets.values())) for row in turn if row)
        yield from islice(mixed, parameters.rows)
        return
    fixture = study.parameters.data.fixture
    if fixture is None:
        raise ConfigError(
            what="nine.importance names neither a snapshot nor a file of scores",
            why="what a block is worth is measured on training rows, never on what is evaluated",
            fix="set nine.importance.snapshot in params.yaml, for example to data/mini",
        )
    from trackyard.recipes.nine.fixture.samples import MAKERS
    from trackyard.recipes.nine.fixture.training import training_row

    for number in range(parameters.rows):
        index, at = divmod(number, len(MAKERS))
        yield training_row(fixture.seed, list(MAKERS)[at], MADE_FROM + index)


def _asked(subject: Subject, row: Row) -> tuple[Prompt, list[int]]:
    """The first question of a row and the ids of its right answer, the end token with them."""
    task = Task(name=row.task, layout="rows", style=row.task, new_tokens=1, metric="em")
    question = question_of(row, 0, f"{row.task}:{TRAIN}:{row.id}", row.task)
    wording = Wording(seed=0, point_format=PointFormat.HTML_V2, evaluation=True)
    answer = write_dialogue(row, 0, row.task, Scope(images=len(row.media)), wording).turns[0][1]
    ids: list[int] = subject.tokenizer(answer, add_special_tokens=False)["input_ids"]
    return subject.prompt(question, task), [*ids, subject.tokenizer.eos_token_id]
