"""A subject whose parts take known times: it sleeps, and writes down how long by a clock of its own."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from trackyard.evaluate.answering.prompt import Prompt
from trackyard.evaluate.answering.subject import Subject
from trackyard.evaluate.tasks.question import Question
from trackyard.evaluate.tasks.task import Task
from trackyard.feed.visibility import Visibility

END, PAD, VOCABULARY = 7, 0, 10
VISION, PREFILL, STEP, PRE = 0.040, 0.050, 0.050, 0.040
"""Seconds."""


class Sleeping(Subject):
    """Puts out 1, 2, 3 … and the end token as number `length`. slept: seconds by part, as they really were.

    steps: token, length and position of each.
    """

    levels_matter, default_level = False, None

    def __init__(self, *, length: int) -> None:
        super().__init__(nn.Linear(1, 1), None, name="stub", digest="", eos=frozenset({END}), pad=PAD)
        self.length = length
        self.slept: dict[str, float] = defaultdict(float)
        self.steps: list[tuple[int, int, int]] = []

    def make_prompt(self) -> Prompt:
        """Five tokens, two of which carry a feature."""
        self.work("pre", PRE)
        visual = np.array([False, True, True, False, False])
        blocks = np.full(5, -1, dtype=np.int64)
        return Prompt(ids=np.arange(5), visual=visual, blocks=blocks, media=None, visual_tokens=2)

    def embeddings(self, prompts: Sequence[Prompt]) -> torch.Tensor:
        assert len(prompts) == 1
        self.device_work("vision", VISION)
        return torch.zeros(1, 5, 1)

    def first(self, prompts: Sequence[Prompt], embeddings: torch.Tensor, cache: Any) -> torch.Tensor:
        self.device_work("prefill", PREFILL)
        return self.logits(1)

    def next(self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: Any) -> torch.Tensor:
        assert ids.shape == positions.shape == (1, 1)
        assert bool(mask.all())
        self.steps.append((int(ids), mask.shape[1], int(positions)))
        self.device_work("decode", STEP)
        return self.logits(int(ids) + 1)

    def logits(self, number: int) -> torch.Tensor:
        """[1, V]: after as many tokens as the answer has, the end token is likeliest, and `number` comes next."""
        found = torch.zeros(1, VOCABULARY)
        found[0, number % END] = 1.0
        found[0, END] = 2.0 if number >= self.length else -1.0
        return found

    def device_work(self, part: str, seconds: float) -> None:
        """Of a device that is done when the call returns."""
        self.work(part, seconds)

    def work(self, part: str, seconds: float) -> None:
        start = time.monotonic()
        time.sleep(seconds)
        self.slept[part] += time.monotonic() - start

    def prompt(self, question: Question, task: Task, *, visual: int | None = None) -> Prompt:
        raise NotImplementedError

    def _whole_masks(self, visibility: Visibility) -> Any:
        raise NotImplementedError

    def _step_masks(self, mask: torch.Tensor) -> Any:
        raise NotImplementedError


class Queueing(Sleeping):
    """The same on a device that is asked to work and works later: until `finish` is called, or a result is read."""

    def __init__(self, *, length: int) -> None:
        super().__init__(length=length)
        self._queue: list[tuple[str, float]] = []

    def device_work(self, part: str, seconds: float) -> None:
        self._queue.append((part, seconds))

    def finish(self) -> None:
        while self._queue:
            self.work(*self._queue.pop(0))

    def logits(self, number: int) -> torch.Tensor:
        found = super().logits(number).as_subclass(_Unread)
        found.finish = self.finish
        return found


class _Unread(torch.Tensor):
    """A result whose first use waits for the device, as reading a number off a GPU does."""

    finish: Callable[[], None]

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        for each in args:
            if isinstance(each, _Unread) and "finish" in each.__dict__:
                each.finish()
        return super().__torch_function__(func, types, args, kwargs or {})  # type: ignore[no-untyped-call]
