"""One table of all datasets: every row where it belongs, numbered on from dataset to dataset."""

from __future__ import annotations

import numpy as np
import pytest

from trackyard.errors import ConfigError
from trackyard.plan.row_table import row_table, spans

X = [np.array(column) for column in ([2, 5], [10, 20], [1, 2], [0, 3], [4, 5])]
EMPTY = [np.zeros(0, dtype=np.int64)] * 5
Y = [np.array(column) for column in ([0], [30], [3], [6], [7])]


def test_look_up() -> None:
    table = row_table([X, EMPTY, Y])
    found = table.of(np.array([2, 0, 0]), np.array([0, 1, 0]))
    assert found.tolist() == [(6, 30, 3, 6, 7), (5, 20, 2, 3, 5), (2, 10, 1, 0, 4)]


def test_spans() -> None:
    assert spans([X[0], EMPTY[0], Y[0]]) == [6, 0, 1]


def test_more_rows_than_can_be_numbered_are_refused() -> None:
    with pytest.raises(ConfigError, match="8,589,934,592 rows"):
        spans([np.array([2**33 - 1])])
