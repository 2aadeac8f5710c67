"""The meter adds up by hand-made time, and its line says what fits."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.train.metering import Meter, ProgressLines, StepCost, memory_peak, progress_line

GIB = 1 << 30


class Time:
    """A clock that only moves when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def passes(self, seconds: float) -> None:
        self.now += seconds


def meter(time: Time, device: str = "NVIDIA H200", steps: int = 100, gpus: int = 2) -> Meter:
    return Meter(steps=steps, gpus=gpus, device_name=device, peak=lambda: 3 * GIB, clock=time)


def cost(flops: float | None = 989e12, tokens: int = 1000, useful: int = 900, **rows: int) -> StepCost:
    return StepCost(tokens=tokens, useful_tokens=useful, flops=flops, rows=rows)


def test_an_interval() -> None:
    time = Time()
    of = meter(time)
    for _ in range(4):
        with of.waiting():
            time.passes(0.25)
        of.step(cost(a=2, b=1))
        time.passes(0.5)
    with of.saving():
        time.passes(1.0)
    values = of.metrics(4, {"llm": 2.0, "vit": 0.5})
    assert values == {
        "usage/seconds_per_step": 1.0,
        "usage/tokens_per_second": 1000.0,
        "usage/useful_tokens_per_second": 900.0,
        "usage/memory_peak_bytes": float(3 * GIB),
        "usage/data_wait_seconds": 1.0,
        "usage/data_wait_share": 0.25,
        "usage/checkpoint_stall_seconds": 1.0,
        "usage/checkpoint_stall_share": 0.25,
        "usage/rows/a": 8.0,
        "usage/rows/b": 4.0,
        "train/gradient_norm/llm": 2.0,
        "train/gradient_norm/vit": 0.5,
        "usage/mfu": 0.5,
    }
    of.step(cost(c=1))
    time.passes(2.0)
    values = of.metrics(5)
    assert values["usage/tokens_per_second"] == 500.0, "an interval starts anew"
    assert (values["usage/data_wait_seconds"], values["usage/rows/c"]) == (0.0, 1.0)
    assert "usage/rows/a" not in values
    assert values["usage/seconds_left"] == 95 * 2.0, "the first interval is no measure of the pace"


def test_no_mfu_of_an_unknown_device_or_an_unknown_model() -> None:
    time = Time()
    cpu, unknown = meter(time, "AMD EPYC"), meter(time)
    for of, flops in ((cpu, 1.0), (unknown, None)):
        of.step(cost(flops))
        time.passes(1.0)
        assert "usage/mfu" not in of.metrics(1)
    assert cpu.words.startswith("no MFU: the bf16 peak of 'AMD EPYC' is not known")
    assert unknown.words == "causal once, no recompute, bf16 peak 989 TFLOP/s"


def test_an_error_while_saving_is_not_swallowed() -> None:
    of = meter(Time())
    with pytest.raises(OSError, match="full"), of.saving():
        raise OSError("full")


@given(st.lists(st.tuples(st.floats(0.0, 5.0), st.floats(0.01, 5.0), st.integers(1, 999)), min_size=1, max_size=30))
def test_intervals_add_up_to_the_whole(steps: list[tuple[float, float, int]]) -> None:
    time = Time()
    of = meter(time, steps=len(steps))
    tokens = waited = 0.0
    for done, (wait, compute, size) in enumerate(steps, start=1):
        with of.waiting():
            time.passes(wait)
        of.step(cost(tokens=size))
        time.passes(compute)
        if done % 3 == 0 or done == len(steps):
            began = of._interval
            values = of.metrics(done)
            tokens += values["usage/tokens_per_second"] * (time() - began)
            waited += values["usage/data_wait_seconds"]
    assert tokens == pytest.approx(sum(size for *_, size in steps))
    assert waited == pytest.approx(sum(wait for wait, *_ in steps))


VALUES = {
    "train/loss": 2.34567,
    "usage/tokens_per_second": 58_412.0,
    "usage/useful_tokens_per_second": 57_001.0,
    "usage/mfu": 0.5012,
    "usage/memory_peak_bytes": 61.2e9,
    "usage/data_wait_share": 0.031,
    "usage/checkpoint_stall_share": 0.001,
    "usage/seconds_left": 43_380.0,
}
WORDS = "causal once, no recompute, bf16 peak 989 TFLOP/s"
WHOLE = f"step 120/30000, loss 2.346, 12 h 03 min left, 58.4k tok/s (57k useful), MFU 50.1% ({WORDS}), data 3%, 61.2 GB"


def test_the_line() -> None:
    assert progress_line(120, 30_000, VALUES, words=WORDS) == WHOLE
    assert progress_line(120, 30_000, VALUES, words=WORDS, width=80) == WHOLE[: WHOLE.index(", MFU")]


@given(st.integers(10, 200))
def test_the_line_fits_and_never_shows_an_mfu_without_its_words(width: int) -> None:
    line = progress_line(120, 30_000, VALUES, words=WORDS, width=width)
    assert len(line) <= width
    assert WHOLE.startswith(line)
    assert "MFU" not in line or WORDS in line


def test_lines_come_first_last_and_every_few_seconds() -> None:
    time, said = Time(), []
    lines = ProgressLines(50, said.append, words=WORDS, every_s=10.0, clock=time)
    for done in range(1, 51):
        lines(done, VALUES)
        time.passes(1.0)
    assert [int(line.split()[1].split("/")[0]) for line in said] == [1, 11, 21, 31, 41, 50]


@pytest.mark.parametrize(("seconds", "words"), [(7.6, "8 s"), (250, "4 min 10 s"), (3600, "1 h 00 min")])
def test_durations(seconds: float, words: str) -> None:
    assert f"{words} left" in progress_line(1, 2, VALUES | {"usage/seconds_left": seconds}, words=WORDS)


def test_memory_of_the_process_is_at_least_what_it_holds_now() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    # The kernel brings the peak up to date every few pages.
    assert 0.95 * pages * resource.getpagesize() <= memory_peak("cpu") < 1 << 40
