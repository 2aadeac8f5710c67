"""What a step costs: throughput, utilisation, memory, and where the time of a run goes.

The loop tells the meter what happens; between two log points that is additions on the host. A log point closes an
interval: everything in it (waiting for data, saving) is part of the time that rates are taken over. Names are those of
the one metric schema of all tracks. Source: performance spec section 4; issue 5, metering.
"""

from __future__ import annotations

import contextlib
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from trackyard.train.flops import mfu, mfu_words

Clock = Callable[[], float]


def memory_peak(device: str) -> int:
    """Most bytes that were in use at once: of tensors on a GPU, of the process on a CPU. device: "cuda" or "cpu"."""
    if device == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated())
    # Linux counts in KiB.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class StepCost:
    """What one step of all ranks together is made of.

    tokens: with padding. useful_tokens: without. flops: by the convention of trackyard.train.flops; None where the
    model's shape is not known. rows: of each dataset.
    """

    tokens: int
    useful_tokens: int
    flops: float | None
    rows: Mapping[str, int]


class Meter:
    """Adds up an interval between log points, and the whole attempt. Every rank may have one; times are its own."""

    def __init__(
        self,
        *,
        steps: int,
        gpus: int,
        device_name: str,
        peak: Callable[[], int],
        machine: Callable[[], Mapping[str, float]] = dict,
        clock: Clock = time.monotonic,
    ) -> None:
        """steps: of the whole run. device_name: as its driver says. peak: bytes at the most (`memory_peak`). machine:
        what it does at a log point (`machine_usage`)."""
        self._steps, self._gpus, self._device_name = steps, gpus, device_name
        self._peak, self._machine, self._clock = peak, machine, clock
        self._began = clock()
        # The first step of an attempt compiles, allocates and fills the queues: no measure of those to come.
        self._steady: tuple[int, float] | None = None
        self._reset(self._began)

    def _reset(self, now: float) -> None:
        self._interval = now
        self._taken = self._tokens = self._useful = 0
        self._flops: float | None = 0.0
        self._waited = self._stalled = 0.0
        self._rows: Counter[str] = Counter()

    @property
    def words(self) -> str:
        """What is said beside an MFU, or why there is none."""
        return mfu_words(self._device_name)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Around taking a step's data: time in which the device has nothing new to do."""
        before = self._clock()
        yield
        self._waited += self._clock() - before

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """Around a save: time in which training stands still."""
        before = self._clock()
        yield
        self._stalled += self._clock() - before

    def step(self, cost: StepCost) -> None:
        """A step was queued."""
        self._taken += 1
        self._tokens += cost.tokens
        self._useful += cost.useful_tokens
        self._flops = None if cost.flops is None or self._flops is None else self._flops + cost.flops
        self._rows.update(cost.rows)

    def metrics(self, done: int, gradient_norms: Mapping[str, float] | None = None) -> dict[str, float]:
        """Close the interval at a log point, after the device has been waited for. done: steps of the run so far.

        Rates are over the wall time of the interval. gradient_norms: of the last step, by component.
        """
        now = self._clock()
        seconds = max(now - self._interval, 1e-9)
        values = {
            "usage/seconds_per_step": seconds / max(self._taken, 1),
            "usage/tokens_per_second": self._tokens / seconds,
            "usage/useful_tokens_per_second": self._useful / seconds,
            "usage/memory_peak_bytes": float(self._peak()),
            "usage/data_wait_seconds": self._waited,
            "usage/data_wait_share": self._waited / seconds,
            "usage/checkpoint_stall_seconds": self._stalled,
            "usage/checkpoint_stall_share": self._stalled / seconds,
            **{f"usage/rows/{name}": float(count) for name, count in sorted(self._rows.items())},
            **{f"train/gradient_norm/{name}": norm for name, norm in (gradient_norms or {}).items()},
        }
        if self._flops is not None:
            share = mfu(self._flops, seconds=seconds, gpus=self._gpus, device=self._device_name)
            values |= {} if share is None else {"usage/mfu": share}
        left = self._seconds_left(done, now)
        values |= {} if left is None else {"usage/seconds_left": left}
        values |= self._machine()
        self._reset(now)
        return values

    def _seconds_left(self, done: int, now: float) -> float | None:
        """At the pace of this attempt; None until it has one."""
        if self._steady is None:
            self._steady = (done, now)
            return None
        since, at = self._steady
        return (self._steps - done) * (now - at) / (done - since) if done > since else None


def progress_line(done: int, steps: int, values: Mapping[str, float], *, words: str, width: int | None = None) -> str:
    """One line of at most `width` characters from the metrics of a log point; what matters least goes first.

    values: as `Meter.metrics` gives them, with train/loss. words: `Meter.words`; an MFU stands beside them, or goes.
    """
    parts = [f"step {done}/{steps}"]
    if "train/loss" in values:
        parts.append(f"loss {values['train/loss']:.4g}")
    if "usage/seconds_left" in values:
        parts.append(f"{_duration(values['usage/seconds_left'])} left")
    tokens, useful = values["usage/tokens_per_second"], values["usage/useful_tokens_per_second"]
    parts.append(f"{_count(tokens)} tok/s ({_count(useful)} useful)")
    if "usage/mfu" in values:
        parts.append(f"MFU {values['usage/mfu']:.1%} ({words})")
    if values["usage/data_wait_share"] >= 0.005:
        parts.append(f"data {values['usage/data_wait_share']:.0%}")
    if values["usage/checkpoint_stall_share"] >= 0.005:
        parts.append(f"save {values['usage/checkpoint_stall_share']:.0%}")
    parts.append(f"{values['usage/memory_peak_bytes'] / 1e9:.1f} GB")
    while width is not None and len(parts) > 1 and len(", ".join(parts)) > width:
        parts.pop()
    return ", ".join(parts)[:width]


class ProgressLines:
    """Says a line at the first log point, at the last one, and every few seconds between."""

    def __init__(
        self,
        steps: int,
        say: Callable[[str], None],
        *,
        words: str,
        every_s: float = 10.0,
        width: int | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self._steps, self._say, self._words, self._every_s, self._width = steps, say, words, every_s, width
        self._clock = clock
        self._last: float | None = None

    def __call__(self, done: int, values: Mapping[str, float]) -> None:
        """A log point after `done` steps."""
        now = self._clock()
        if self._last is not None and now - self._last < self._every_s and done < self._steps:
            return
        self._last = now
        self._say(progress_line(done, self._steps, values, words=self._words, width=self._width))


def _count(number: float) -> str:
    """Three figures: 982, 58.4k, 1.21M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"


def _duration(seconds: float) -> str:
    """Two units: 12 h 03 min, 4 min 10 s, 8 s."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"
