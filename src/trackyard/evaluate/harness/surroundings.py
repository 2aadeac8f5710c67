"""What holds while lm-evaluation-harness runs: no network, nothing printed, one process, fixed random numbers."""

from __future__ import annotations

import io
import os
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import numpy as np
import torch

OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
ONE_PROCESS = "DISABLE_MULTIPROC"
"""lm-evaluation-harness would fork a process per core for the standard error of a perplexity."""
SEEDS = (0, 1234, 1234)
"""Of random, numpy and torch: the ones that the harness sets where none are given."""


@contextmanager
def alone() -> Iterator[None]:
    """Offline, silent and repeatable. What was set is set again afterwards; random numbers go on from the seeds."""
    import datasets.config
    import huggingface_hub.constants

    random.seed(SEEDS[0])
    np.random.seed(SEEDS[1])
    torch.manual_seed(SEEDS[2])
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    with ExitStack() as stack:
        for name in (*OFFLINE, ONE_PROCESS):
            stack.callback(_set_variable, name, os.environ.get(name))
            os.environ[name] = "1"
        # Both libraries read the variables once, when they are imported, which they may have been already.
        for module, name in (
            (huggingface_hub.constants, "HF_HUB_OFFLINE"),
            (datasets.config, "HF_HUB_OFFLINE"),
            (datasets.config, "HF_DATASETS_OFFLINE"),
        ):
            stack.callback(setattr, module, name, getattr(module, name))
            _switch(module, name)
        stack.enter_context(redirect_stdout(io.StringIO()))
        stack.enter_context(redirect_stderr(io.StringIO()))
        yield


def _switch(module: Any, name: str) -> None:
    setattr(module, name, True)


def _set_variable(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value
