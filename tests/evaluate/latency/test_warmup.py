from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.errors import ConfigError, DataError
from trackyard.evaluate.latency.timing import Timing
from trackyard.evaluate.latency.warmup import MOST, Taken, WarmUp, take_samples


def _timing(first_ms: float, decode_ms: float = 0.0) -> Timing:
    return Timing(
        t_pre_ms=0.0, t_vision_ms=0.0, t_prefill_ms=first_ms, t_decode_ms=decode_ms, t_total_ms=first_ms + decode_ms,
        n_visual=0, n_prompt=1, tokens=(1, 2),
    )  # fmt: skip


def _taken(ids: Sequence[str], times: Iterator[float], *, left: Sequence[str] | None = None) -> list[Taken]:
    return list(take_samples(ids, lambda _: _timing(next(times)), WarmUp(), left=left))


def _then(values: Sequence[float], rest: float = 100.0) -> Iterator[float]:
    yield from values
    while True:
        yield rest


@pytest.mark.parametrize(
    ("times", "warm"),
    [
        ([100, 100, 100], 3),
        # Medians 900, 500, 101, 100.5: the last moves by half a percent.
        ([900, 100, 101, 100], 4),
        # Medians 100, 100, 100: one slow sample is no cold device.
        ([100, 100, 500], 3),
        # Medians 300, 225, 150, 125, 100, 100.
        ([300, 150, 100], 6),
    ],
)
def test_a_configuration_is_warm_when_the_running_median_stands(times: list[float], warm: int) -> None:
    ids = [str(number) for number in range(20)]
    taken = _taken(ids, _then(times))
    assert [each.id for each in taken if each.warmup] == ids[:warm]
    assert [each.id for each in taken if not each.warmup] == ids


def test_samples_of_the_warm_up_count_when_they_are_measured_again_and_few_ids_go_round() -> None:
    taken = _taken(["a", "b"], _then([]))
    assert [(each.id, each.warmup) for each in taken] == [
        ("a", True), ("b", True), ("a", True), ("a", False), ("b", False),
    ]  # fmt: skip


def test_a_process_that_goes_on_warms_up_for_itself_and_measures_what_is_left() -> None:
    taken = _taken(["a", "b", "c", "d"], _then([]), left=["d"])
    assert [(each.id, each.warmup) for each in taken] == [("a", True), ("b", True), ("c", True), ("d", False)]
    assert _taken(["a", "b"], _then([]), left=[]) == [], "and warms up for nothing if nothing is"


def test_lengths_of_answers_keep_no_device_cold() -> None:
    warm_up = WarmUp()
    for decode_ms in (0.0, 5_000.0, 40.0):
        warm_up.add(_timing(100.0, decode_ms))
    assert warm_up.over


@given(st.lists(st.floats(1.0, 1e4), min_size=1, max_size=40))
def test_never_before_three_samples_and_only_after_a_small_move(times: list[float]) -> None:
    warm_up = WarmUp()
    for number, each in enumerate(times, start=1):
        warm_up.add(_timing(each))
        before, now = median(times[: max(1, number - 1)]), median(times[:number])
        assert warm_up.over is (number >= 3 and abs(now - before) < 0.02 * before)


def test_a_machine_that_never_settles_is_refused() -> None:
    swinging = (100.0 * 2.0**number for number in range(10**6))
    with pytest.raises(DataError, match=f"after {MOST} samples"):
        _taken(["a"], swinging)


@pytest.mark.parametrize("least", [0, 2, MOST])
def test_a_warm_up_that_is_too_short_is_refused(least: int) -> None:
    with pytest.raises(ConfigError, match=f"at least {least} samples"):
        WarmUp(least=least)
