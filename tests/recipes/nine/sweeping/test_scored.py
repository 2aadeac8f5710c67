"""A cell is put out when everything is there: values by hand, failures within a budget, partial views with a mark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.recipes.nine.sweeping.made_questions import Listed, cell, failure, sample, task
from trackyard.errors import DataError
from trackyard.evaluate.configuration_results import read_configuration
from trackyard.evaluate.records import Sample
from trackyard.evaluate.store import Store, read_records
from trackyard.evaluate.tasks.question import Question
from trackyard.recipes.nine.sweeping.answering import Cell
from trackyard.recipes.nine.sweeping.scored import CONFIG, SAMPLES, SHARES, Scoring, put_out, values_of

IDS = [f"made:validation:{number}" for number in range(10)]
AGAIN = "trackyard run nine accuracy"
SCORING = Scoring(model="m", device="cpu", batch=4, resamples=100, lineage={"sweep": "s"})


def stored(root: Path, of: Cell, records: list[Sample]) -> Store[Sample]:
    store = of.store(root, again=AGAIN)
    with store.writer("0-of-1") as writer:
        for record in records:
            writer.append(record)
    return store


def right_and_wrong(of: Cell) -> list[Sample]:
    """The first eight are right."""
    return [
        sample(of, name, "x", {"em": float(number < 8)}, n_visual=number, hit_cap=number == 3)
        for number, name in enumerate(IDS)
    ]


@pytest.fixture
def of() -> Cell:
    return cell(task(), Listed.of(IDS))


def test_values_intervals_tokens_and_rates(tmp_path: Path, of: Cell) -> None:
    records = right_and_wrong(of)
    records[5] = replace(records[5], parsed=None)
    result = put_out(tmp_path / "out", of, stored(tmp_path, of, records), SCORING)
    value = result.metric["em"]
    # Spec section 9: 8/10.
    assert (value.value, round(value.lo, 4), round(value.hi, 4)) == (0.8, 0.4902, 0.9433)
    assert (result.expected, result.ok, result.failed, result.watermark) == (10, 10, 0, "")
    assert (result.realised_visual.mean, result.realised_visual.P50) == (4.5, 4.5)
    assert (result.cap_rate, result.unparsed_rate) == (0.1, 0.1)
    assert read_configuration(tmp_path / "out" / CONFIG, fix="-") == result
    assert [record.id for record in read_records(tmp_path / "out" / SAMPLES, Sample)] == sorted(IDS)


@pytest.mark.parametrize("partial", [False, True])
def test_a_missing_sample_is_named_or_marked(tmp_path: Path, of: Cell, partial: bool) -> None:
    store = stored(tmp_path, of, right_and_wrong(of)[:-1])
    scoring = replace(SCORING, partial=partial)
    if partial:
        result = put_out(tmp_path / "out", of, store, scoring)
        assert (result.expected, result.ok) == (10, 9)
        assert result.watermark.startswith("PARTIAL: 9 of 10 samples (90.0 %)")
        return
    with pytest.raises(DataError, match=IDS[-1]) as refused:
        put_out(tmp_path / "out", of, store, scoring)
    assert refused.value.fix == AGAIN
    assert not (tmp_path / "out").exists(), "nothing is put out"


@pytest.mark.parametrize(("budget", "passes"), [(0, False), (1, False), (2, True)])
def test_failed_questions_count_as_wrong_and_within_their_budget(
    tmp_path: Path, of: Cell, budget: int, passes: bool
) -> None:
    records = right_and_wrong(of)
    records[:2] = [failure(of, name, "no image") for name in IDS[:2]]
    store, scoring = stored(tmp_path, of, records), replace(SCORING, most_failed=budget)
    if passes:
        result = put_out(tmp_path / "out", of, store, scoring)
        assert (result.ok, result.failed, result.metric["em"].value, result.watermark) == (8, 2, 0.6, "")
        return
    with pytest.raises(DataError, match=rf"2 of 10 samples failed, {budget} may: {IDS[0]}, {IDS[1]}; .*no image"):
        put_out(tmp_path / "out", of, store, scoring)


def captions(make: Callable[[str], Question]) -> Cell:
    return cell(task(metric="cider_py"), Listed.of(IDS[:2], make))


def test_cider_is_over_the_corpus_and_not_a_mean_of_single_answers(tmp_path: Path) -> None:
    """Spec section 4: the second caption of two lacks a 4-gram."""
    texts = dict(zip(IDS[:2], ("a cat sits on a mat", "a dog runs"), strict=True))
    of = captions(lambda name: Question(id=name, question="", references=(texts[name],)))
    records = [sample(of, name, texts[name], {}) for name in IDS[:2]]
    result = put_out(tmp_path / "out", of, stored(tmp_path, of, records), SCORING)
    assert result.metric["cider_py"].value == pytest.approx(8.75)
    assert values_of("cider_py", tmp_path / "out", records).tolist() == pytest.approx([10, 7.5])


def test_a_failed_caption_is_worth_0(tmp_path: Path) -> None:
    of = captions(lambda name: Question(id=name, question="", references=(f"a cat sits on mat {name[-1]}",)))
    records = [sample(of, IDS[0], "a cat sits on mat 0", {}), failure(of, IDS[1], "no image")]
    result = put_out(tmp_path / "out", of, stored(tmp_path, of, records), replace(SCORING, most_failed=1))
    shares = values_of("cider_py", tmp_path / "out", records)
    assert shares[1] == 0.0 < shares[0]
    assert result.metric["cider_py"].value == pytest.approx(shares.mean())
    (tmp_path / "out" / SHARES).write_text((tmp_path / "out" / SHARES).read_text().replace("0.0", "1.0"))
    with pytest.raises(DataError, match="was altered"):
        values_of("cider_py", tmp_path / "out", records)


def test_questions_of_one_image_are_drawn_together(tmp_path: Path) -> None:
    """Five images whose two questions have the same score: half as many independent values, a wider interval."""

    def make(together: bool) -> Callable[[str], Question]:
        return lambda name: Question(
            id=name, question="?", references=("x",), cluster=str(int(name[-1]) // 2) if together else ""
        )

    widths = []
    for together in (False, True):
        of = cell(task(metric="anls", name=f"made{together}"), Listed.of(IDS, make(together)))
        records = [sample(of, name, "x", {"anls": float(int(name[-1]) // 2 < 3)}) for name in IDS]
        value = put_out(
            tmp_path / f"out{together}", of, stored(tmp_path, of, records), replace(SCORING, resamples=2000)
        ).metric["anls"]
        assert value.value == 0.6
        widths.append(value.hi - value.lo)
    assert widths[1] > 1.2 * widths[0]


def test_groups_of_questions_are_given_apart(tmp_path: Path) -> None:
    def make(name: str) -> Question:
        kind = {"kind": "simple" if int(name[-1]) < 4 else "complex"} if name != IDS[9] else {}
        return Question(id=name, question="?", references=("x",), groups=kind)

    of = cell(task(breakdown="kind"), Listed.of(IDS, make))
    result = put_out(tmp_path / "out", of, stored(tmp_path, of, right_and_wrong(of)), SCORING)
    assert result.breakdown == {"-": (0.0, 1), "complex": (0.8, 5), "simple": (1.0, 4)}


def test_an_answer_that_was_not_scored_by_a_metric_of_the_task_is_refused(tmp_path: Path, of: Cell) -> None:
    records: list[Any] = right_and_wrong(of)
    records[4] = replace(records[4], score={"anls": 1.0})
    with pytest.raises(DataError, match=f"{IDS[4]} has no em"):
        put_out(tmp_path / "out", of, stored(tmp_path, of, records), SCORING)


def test_values_of_one_answer_are_those_of_its_record(tmp_path: Path, of: Cell) -> None:
    assert np.array_equal(values_of("em", tmp_path, right_and_wrong(of)), [1.0] * 8 + [0.0] * 2)
