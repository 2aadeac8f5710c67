"""The body of a result: what it says, how means and digests are made, and when there is none."""

from __future__ import annotations

import numpy as np
import pytest

from tests.recipes.datacomp.evaluating.answering import COUNT, likelihoods, scored, written
from trackyard.errors import DataError
from trackyard.recipes.datacomp.evaluating.scoring import Answer, Record, body_of
from trackyard.recipes.datacomp.evaluating.sets import SETS


def test_a_body_says_what_section_13_asks_for() -> None:
    records = scored("blink", lambda item: likelihoods(item, item.gold))
    body = body_of(SETS["blink"], records, resamples=100, most_empty=0.02)
    assert {
        "n", "accuracy", "macro", "by_task", "ci95", "empty_rate", "unparsed_rate", "errors", "predictions_digest",
        "records", "mean_length",
    } <= set(body)  # fmt: skip
    assert {"id", "gold", "pred", "loglik", "correct"} <= set(body["records"][0])
    assert (body["n"], body["errors"], body["accuracy"], body["macro"]) == (COUNT, 0, 1.0, 1.0)
    assert body["ci95"] == {"accuracy": [1.0, 1.0], "macro": [1.0, 1.0]}
    assert sum(task["n"] for task in body["by_task"].values()) == COUNT


def test_the_macro_mean_counts_tasks_alike() -> None:
    records = scored("blink", lambda item: likelihoods(item, item.gold if item.task == "vertical" else "none of them"))
    body = body_of(SETS["blink"], records, resamples=100, most_empty=0.02)
    counts = {task: found["n"] for task, found in body["by_task"].items()}
    assert counts["vertical"] != counts["horizontal"]
    assert body["macro"] == 0.5
    assert body["accuracy"] == pytest.approx(counts["vertical"] / COUNT)
    assert body["ci95"]["macro"] == [0.5, 0.5]


def test_too_many_empty_answers_stop_and_a_few_are_counted() -> None:
    def some(empty: int) -> list[Record]:
        return scored("spatial", written(lambda item: "" if int(item.id[-5:]) < empty else item.gold))

    assert body_of(SETS["spatial"], some(1), resamples=100, most_empty=0.02)["empty_rate"] == pytest.approx(1 / COUNT)
    with pytest.raises(DataError, match="2 of 96 generated answers of spatial are empty"):
        body_of(SETS["spatial"], some(2), resamples=100, most_empty=0.02)
    vsr = body_of(SETS["vsr"], scored("vsr", lambda item: Answer(logliks=(-1.0, -2.0))), resamples=100, most_empty=0.02)
    assert vsr["empty_rate"] is None


def test_digests_tell_likelihoods_apart_and_answers_do_not() -> None:
    def sure(value: float) -> list[Record]:
        return scored("vsr", lambda item: Answer(logliks=(value, -5.0)))

    def digests(records: list[Record]) -> tuple[str, str]:
        body = body_of(SETS["vsr"], records, resamples=100, most_empty=0.02)
        return body["predictions_digest"], body["answers_digest"]

    one, other = digests(sure(-1.0)), digests(sure(float(np.nextafter(-1.0, 0.0))))
    assert one == digests(sure(-1.0))
    assert one[0] != other[0]
    assert one[1] == other[1]
