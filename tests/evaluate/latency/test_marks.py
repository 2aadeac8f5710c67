from __future__ import annotations

from itertools import count

import pytest
import torch

from trackyard.errors import ConfigError
from trackyard.evaluate.latency.marks import Marks, synchroniser


def test_a_span_is_between_two_readings_each_after_the_device_is_idle() -> None:
    seconds, happened = count(10), list[str]()

    def clock() -> float:
        happened.append("read")
        return float(next(seconds))

    marks = Marks(lambda: happened.append("wait"), clock)
    with marks.span("outer"), marks.span("inner"):
        happened.append("work")
    assert happened == ["wait", "read", "wait", "read", "work", "wait", "read", "wait", "read"]
    assert (marks.ms("inner"), marks.ms("outer"), marks.ms("other")) == (1e3, 3e3, 0.0)


def test_a_span_is_taken_once() -> None:
    marks = Marks(lambda: None)
    with marks.span("prefill"):
        pass
    with pytest.raises(ValueError, match="taken already"), marks.span("prefill"):
        pass


def test_a_cpu_needs_no_waiting_and_an_unknown_device_is_refused() -> None:
    synchroniser(torch.device("cpu"))()
    with pytest.raises(ConfigError, match="'meta' device"):
        synchroniser(torch.device("meta"))


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_gpu_is_waited_for(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    synchroniser(torch.device(device))()
    assert waited == [torch.device(device)]
