"""Sentences that never claim more than the tests show."""

from __future__ import annotations

from pathlib import Path

from tests.recipes.comparison.test_pairing import drawn
from tests.record.made_runs import Life, make_run
from trackyard.recipes.comparison.pairing import pair_up
from trackyard.recipes.comparison.samples import Samples, Share
from trackyard.recipes.comparison.verdicts import NO_CLAIM, THESE, verdicts
from trackyard.record.comparing.comparison import Comparison, compare_runs
from trackyard.record.comparing.summary import read_summary

METRICS = {"validation/loss": 1.0, "validation/counting": 0.5, "test/nll": 2.0, "train/loss": 1.0, "bench/a": 0.5}


def compared(root: Path, count: int = 2) -> Comparison:
    runs = [make_run(root, Life(metrics=[(1, METRICS)]), seed=seed) for seed in range(count)]
    return compare_runs([read_summary(run.path) for run in runs])


def test_without_samples_nothing_is_claimed_however_far_apart_the_numbers_are(tmp_path: Path) -> None:
    found = verdicts(compared(tmp_path), pair_up([Samples(), Samples()]))
    assert [(one.family, one.text) for one in found] == [
        (family, NO_CLAIM) for family in ("validation", "test", "bench", "train")
    ]


def test_a_finding_is_of_these_models_and_its_p_is_told(tmp_path: Path) -> None:
    one = Samples(scores={"test/nll": drawn(2.0)}, shares={"validation/counting": Share(asked="", right=9, answers=90)})
    other = Samples(
        scores={"test/nll": drawn(2.4, seed=1)}, shares={"validation/counting": Share(asked="", right=80, answers=90)}
    )
    texts = {found.family: found.text for found in verdicts(compared(tmp_path), pair_up([one, other]))}
    assert texts["test"] == f"run 2 is worse on nll: p=0.0001 ({THESE})"
    assert texts["validation"] == f"run 2 is better on counting: intervals of counts ({THESE})"
    assert texts["bench"] == NO_CLAIM


def test_what_is_not_told_apart_is_said_and_long_lists_are_counted(tmp_path: Path) -> None:
    few = Samples(scores={f"bench/{name}": drawn(0.5) for name in "ab"})
    many = Samples(scores={f"bench/{name}": drawn(0.5) for name in "abcdef"})
    (text,) = (one.text for one in verdicts(compared(tmp_path), pair_up([few, few])) if one.family == "bench")
    assert text == "not told apart on a: p=1, b: p=1"
    (text,) = (one.text for one in verdicts(compared(tmp_path), pair_up([many, many])) if one.family == "bench")
    assert text == "not told apart on 6 metrics (p=1 or more)"


def test_of_counts_alone_no_p_is_told(tmp_path: Path) -> None:
    counted = Samples(shares={f"validation/{name}": Share(asked="", right=9, answers=90) for name in "abcde"})
    texts = {found.family: found.text for found in verdicts(compared(tmp_path), pair_up([counted, counted]))}
    assert texts["validation"] == "not told apart on 5 metrics"


def test_every_run_is_held_against_the_first(tmp_path: Path) -> None:
    samples = [Samples(scores={"test/nll": drawn(mean, seed=seed)}) for seed, mean in enumerate((2.0, 2.4, 1.6))]
    found = [one for one in verdicts(compared(tmp_path, 3), pair_up(samples)) if one.family == "test"]
    assert [(one.run, one.text.split(" on ")[0]) for one in found] == [(1, "run 2 is worse"), (2, "run 3 is better")]
