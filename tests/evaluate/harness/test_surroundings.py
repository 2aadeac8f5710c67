"""While the harness runs nothing reaches the network or the terminal, and afterwards all is as it was."""

from __future__ import annotations

import logging
import os
import random
import sys

import datasets.config
import huggingface_hub.constants
import numpy as np
import pytest
import torch
from huggingface_hub import HfApi
from huggingface_hub.errors import OfflineModeIsEnabled

from tests.evaluate.harness.small_exports import watch_network
from trackyard.evaluate.harness.surroundings import OFFLINE, ONE_PROCESS, alone


def state() -> tuple[object, ...]:
    return (
        *(os.environ.get(name) for name in (*OFFLINE, ONE_PROCESS)),
        huggingface_hub.constants.HF_HUB_OFFLINE,
        datasets.config.HF_HUB_OFFLINE,
        datasets.config.HF_DATASETS_OFFLINE,
    )


@pytest.mark.parametrize("before", [None, "0"])
def test_all_is_set_and_set_back(before: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if before is not None:
        monkeypatch.setenv("HF_DATASETS_OFFLINE", before)
    earlier, streams = state(), (sys.stdout, sys.stderr)
    with pytest.raises(KeyError), alone():
        raise KeyError(state())
    with alone():
        assert state() == ("1", "1", "1", "1", True, True, True)
    assert state() == earlier
    assert (sys.stdout, sys.stderr) == streams


def test_the_hub_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watch_network(monkeypatch)
    with alone(), pytest.raises(OfflineModeIsEnabled):
        HfApi().model_info("a/b")
    assert seen == []
    # Negative control: outside of it the same call is an attempt that is seen.
    with pytest.raises(Exception, match="no network in this test"):
        HfApi().model_info("a/b")
    assert seen


def test_silent_and_repeatable(capfd: pytest.CaptureFixture[str]) -> None:
    drawn = []
    for _ in range(2):
        with alone():
            print("out")
            print("err", file=sys.stderr)
            logging.getLogger("lm_eval.something").info("told")
            drawn.append((random.random(), np.random.random(), float(torch.rand(1))))
    assert drawn[0] == drawn[1]
    assert capfd.readouterr() == ("", "")
