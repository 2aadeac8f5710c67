"""The metrics by name: what each reads of an answer, and what it is worth.

Every metric is a function of one answer and its question, or of a whole corpus of them; none draws a random number.
Source: nine-datasets spec section 4, molmo2 spec section 14.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase

import numpy as np
from numpy.typing import NDArray

from trackyard.errors import ConfigError, DataError
from trackyard.evaluate.counting import is_close, is_exact
from trackyard.evaluate.multiple_choice import chosen_option
from trackyard.evaluate.scorers.anls import anls
from trackyard.evaluate.scorers.exact import em, em_number
from trackyard.evaluate.scorers.extraction import extracted
from trackyard.evaluate.scorers.mmmu import mmmu, mmmu_expected, parsed_choice
from trackyard.evaluate.scorers.regions import score_pointing, score_tracking
from trackyard.evaluate.scorers.vqa import normalised, vqa, vqa_simple
from trackyard.evaluate.tasks.question import Question
from trackyard.feed.points import count_of_answer

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """parsed: what was read of an answer, None where no rule could read it. score: by metric, those of one answer."""

    parsed: str | None
    score: Mapping[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """value: of one answer, in [0, 1]. read: what a rule reads of it. corpus: value of each image in its corpus.

    binary: every value is 0 or 1, so that its interval has a closed form. scale: what the corpus value may reach.
    needs: what a question must have, by its field.
    """

    name: str
    needs: tuple[str, ...]
    value: Callable[[Question, str], float] | None = None
    read: Callable[[Question, str], str | None] | None = None
    corpus: Callable[[Sequence[str], Sequence[Sequence[str]]], Floats] | None = None
    binary: bool = False
    scale: float = 1.0


def _letter(number: int | None) -> str | None:
    return None if number is None else ascii_uppercase[number]


def _read_text(_question: Question, answer: str) -> str | None:
    return answer or None


def _read_vqa(_question: Question, answer: str) -> str | None:
    return normalised(answer) or None


def _mc(question: Question, answer: str) -> float:
    return float(chosen_option(answer, question.options) == question.answer_index)


def _read_mc(question: Question, answer: str) -> str | None:
    return _letter(chosen_option(answer, question.options))


def _mmmu(question: Question, answer: str) -> float:
    return mmmu(answer, question.options, question.answer_index, question.references)


def _mmmu_expected(question: Question, answer: str) -> float:
    return mmmu_expected(answer, question.options, question.answer_index, question.references)


def _read_mmmu(question: Question, answer: str) -> str | None:
    return _letter(parsed_choice(answer, question.options)) if question.options else answer or None


def _count(question: Question) -> int:
    stated = count_of_answer(question.references[0])
    if stated is None:
        raise DataError(
            what=f"{question.id}: no count in {question.references[0]!r}",
            why="counting is scored against it",
            fix="correct the data set's import; a reference states a number",
        )
    return stated


def _read_count(_question: Question, answer: str) -> str | None:
    count = count_of_answer(answer)
    return None if count is None else str(count)


def _cider(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Floats:
    from trackyard.evaluate.scorers.cider import cider
    from trackyard.evaluate.scorers.ptb import ptb_words

    return cider(*_cut(hypotheses, references, ptb_words))


def _cider_py(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Floats:
    from trackyard.evaluate.scorers.caption_words import python_words
    from trackyard.evaluate.scorers.cider import cider

    return cider(*_cut(hypotheses, references, lambda texts: [python_words(text) for text in texts]))


def _cut(
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    words: Callable[[Sequence[str]], Sequence[Sequence[str]]],
) -> tuple[Sequence[Sequence[str]], list[Sequence[Sequence[str]]]]:
    """Hypotheses and references cut into words, apart: the PTB tokenizer looks at the line after a caption, too."""
    cut, after, at = words([text for texts in references for text in texts]), [], 0
    for texts in references:
        after.append(cut[at : at + len(texts)])
        at += len(texts)
    return words(hypotheses), after


def _mean_over(metric: Callable[[str, Sequence[str]], float]) -> Callable[[Question, str], float]:
    return lambda question, answer: metric(answer, question.references)


def _points(part: str) -> Callable[[Question, str], float]:
    return lambda question, answer: float(getattr(score_pointing(question, answer), part))


def _tracks(part: str) -> Callable[[Question, str], float]:
    return lambda question, answer: float(getattr(score_tracking(question, answer), part))


_LISTED = (
    Metric(name="vqa", needs=("references",), value=_mean_over(vqa), read=_read_vqa),
    Metric(name="vqa_simple", needs=("references",), value=_mean_over(vqa_simple), read=_read_vqa),
    Metric(name="anls", needs=("references",), value=_mean_over(anls), read=_read_text),
    Metric(name="em", needs=("references",), value=lambda q, a: em(a, q.references[0]), read=_read_text, binary=True),
    Metric(
        name="em_number",
        needs=("references",),
        value=lambda q, a: em_number(a, q.references[0]),
        read=_read_text,
        binary=True,
    ),
    Metric(name="mc", needs=("options", "answer_index"), value=_mc, read=_read_mc, binary=True),
    Metric(name="mmmu", needs=(), value=_mmmu, read=_read_mmmu, binary=True),
    Metric(name="mmmu_expected", needs=(), value=_mmmu_expected, read=_read_mmmu),
    Metric(
        name="counting_exact",
        needs=("references",),
        value=lambda q, a: float(is_exact(a, _count(q))),
        read=_read_count,
        binary=True,
    ),
    Metric(
        name="counting_close",
        needs=("references",),
        value=lambda q, a: float(is_close(a, _count(q))),
        read=_read_count,
        binary=True,
    ),
    Metric(name="points_precision", needs=(), value=_points("precision"), read=_read_text),
    Metric(name="points_recall", needs=(), value=_points("recall"), read=_read_text),
    Metric(name="points_f1", needs=(), value=_points("f1"), read=_read_text),
    Metric(name="track_f1", needs=(), value=_tracks("frame_f1"), read=_read_text),
    Metric(name="hota", needs=(), value=_tracks("hota"), read=_read_text),
    Metric(name="cider", needs=("references",), corpus=_cider, read=_read_text, scale=10.0),
    Metric(name="cider_py", needs=("references",), corpus=_cider_py, read=_read_text, scale=10.0),
)
METRICS: Mapping[str, Metric] = {metric.name: metric for metric in _LISTED}
NOT_MEASURED = {
    "jf": "J&F needs a mask predictor that the points prompt",
    "caption_f1": "caption F1 needs a judge model that splits captions into statements",
}
"""Metrics that are published and cannot be had offline: reported as not measured, never as a number."""


def metric_named(name: str) -> Metric:
    """ConfigError for a name that is no metric."""
    if name not in METRICS:
        raise ConfigError(
            what=f"no metric {name!r}",
            why=NOT_MEASURED.get(name, f"there are {', '.join(METRICS)}"),
            fix="name another metric in the YAML file of the task",
        )
    return METRICS[name]


def score_answer(metrics: Sequence[str], question: Question, answer: str) -> Scored:
    """What an answer is worth by every metric of one answer; those of a corpus are not among them.

    answer: as generated. DataError where the question lacks what a metric is measured against.
    """
    chosen = [metric_named(name) for name in metrics]
    require_truth(chosen, question)
    texts = {metric.name: answer.strip() if metric.corpus else extracted(answer) for metric in chosen}
    first = chosen[0]
    return Scored(
        parsed=None if first.read is None else first.read(question, texts[first.name]),
        score={metric.name: metric.value(question, texts[metric.name]) for metric in chosen if metric.value},
    )


def require_truth(metrics: Sequence[Metric], question: Question) -> None:
    """DataError where a question lacks what it is scored by: every answer to it would count as wrong."""
    for metric in metrics:
        absent = [name for name in metric.needs if getattr(question, name) in (None, (), "")]
        if absent:
            raise DataError(
                what=f"{question.id} has no {', '.join(absent)}",
                why=f"{metric.name} is measured against it",
                fix="choose a split whose answers are published, or another metric",
            )


def chance(metric: str, questions: Sequence[Question]) -> float | None:
    """What guessing among the options gives; None where there is nothing to choose from, or no question."""
    if metric not in ("mc", "mmmu", "mmmu_expected") or not questions or not all(q.options for q in questions):
        return None
    return float(np.mean([1 / len(question.options) for question in questions]))
