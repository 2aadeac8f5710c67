"""The interval of a macro mean: tasks count alike, and every resample has all of them."""

import numpy as np
import pytest

from trackyard.errors import DataError
from trackyard.evaluate.statistics import bootstrap_mean
from trackyard.evaluate.stratified import bootstrap_macro


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_one_task_is_the_plain_bootstrap() -> None:
    values = rng().random(200)
    assert bootstrap_macro({"only": values}, rng=rng()) == bootstrap_mean(values, rng=rng())


def test_tasks_count_alike_whatever_their_size() -> None:
    found = bootstrap_macro({"large": np.ones(1000), "small": np.zeros(10)}, rng=rng())
    assert found.low == found.high == 0.5


def test_its_width_is_that_of_theory() -> None:
    tasks = {name: rng().integers(0, 2, size=400).astype(float) for name in "ab"}
    found = bootstrap_macro(tasks, rng=rng())
    error = np.sqrt(sum(each.var() / each.size for each in tasks.values())) / 2
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.05)


@pytest.mark.parametrize("tasks", [{}, {"none": []}, {"a": [1.0], "b": [float("nan")]}])
def test_what_has_no_mean_is_refused(tasks: dict[str, list[float]]) -> None:
    with pytest.raises(DataError, match="an interval over"):
        bootstrap_macro(tasks, rng=rng())
