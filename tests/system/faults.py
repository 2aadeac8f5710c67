"""Faults that a forked command is started with (tests/system/forked.py): each changes one function of the package.

Steps are numbered from 1, as a user sees them.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trackyard.feed.batch import Batch
from trackyard.feed.steps import PlanFeed, StepFeed
from trackyard.launch.signals import StopFlag
from trackyard.recipes.molmo2 import scoring, stage, training
from trackyard.recipes.molmo2.share import Share
from trackyard.train import saver
from trackyard.train.engine import Engine, StepResult
from trackyard.train.guard import Guard
from trackyard.train.loss import AnswerLoss
from trackyard.train.ranks import rank


def _send(names: Sequence[str]) -> None:
    for name in names:
        os.kill(os.getpid(), signal.Signals[name])


def noting_examples(file: str) -> None:
    """No fault: a line of `file` for each step that a rank takes, with its rows and the digests of its packs."""
    batches = Share.batches

    def noted(self: Share, data: StepFeed) -> Iterator[Batch]:
        packs = []
        for batch in batches(self, data):
            packs += [hashlib.sha256(np.ascontiguousarray(tokens)).hexdigest() for tokens in batch.input_ids]
            yield batch
        if self._engine.ranks.context_rank == 0:
            rows = [[row.dataset, row.row, row.epoch] for row in data.rows]
            with open(file, "a") as notes:
                notes.write(json.dumps({"step": data.step + 1, "rows": rows, "packs": packs}) + "\n")

    Share.batches = noted  # type: ignore[method-assign]


def stopped_after(step: int) -> None:
    """SIGTERM, to rank 0 alone, when `step` is done."""
    taken = Engine.step

    def then(self: Engine, number: int, micro_batches: Any, weight: float) -> StepResult:
        result = taken(self, number, micro_batches, weight)
        if number + 1 == step and rank() == 0:
            _send(["SIGTERM"])
        return result

    Engine.step = then  # type: ignore[method-assign]


def stopped_in_validation(which: int, names: Sequence[str]) -> None:
    """Signals while the first answer of validation `which` (0: of the start, 1: of the trained model) is generated."""
    validate, generate = stage.validate, scoring.generate
    calls = iter(range(2))
    at = -1

    def counted(*arguments: Any) -> Any:
        nonlocal at
        at = next(calls)
        return validate(*arguments)

    def cut(*arguments: Any, **named: Any) -> Any:
        if at == which:
            _send(names)
        return generate(*arguments, **named)

    stage.validate, scoring.generate = counted, cut


def stopped_in_save(step: int, names: Sequence[str]) -> None:
    """Signals while the checkpoint of `step` is written, which goes on when the first has been taken note of."""
    seal, receive = saver.seal, StopFlag.receive
    taken = threading.Event()

    def noted(self: StopFlag, number: int) -> None:
        receive(self, number)
        taken.set()

    def sealed(partial: Path, final: Path, manifest: Any) -> None:
        if manifest.step == step:
            _send(names)
            assert taken.wait(60)
        seal(partial, final, manifest)

    StopFlag.receive, saver.seal = noted, sealed  # type: ignore[method-assign]


def stuck_in_save(step: int, waiting: str, noted: str) -> None:
    """The disk does not answer when the checkpoint of `step` is sealed: the file `waiting` is made, and nothing more.

    The file `noted` is made when a stop signal has been taken note of.
    """
    seal, receive = saver.seal, StopFlag.receive

    def told(self: StopFlag, number: int) -> None:
        receive(self, number)
        Path(noted).touch()

    def stuck(partial: Path, final: Path, manifest: Any) -> None:
        if manifest.step == step:
            Path(waiting).touch()
            threading.Event().wait()
        seal(partial, final, manifest)

    StopFlag.receive, saver.seal = told, stuck  # type: ignore[method-assign]


def no_number(losses: dict[str, str], on_rank: int = 0) -> None:
    """The losses of some steps are NaN or Inf on one rank."""
    taken, forward = Engine.step, training.forward
    now = 0

    def step(self: Engine, number: int, micro_batches: Any, weight: float) -> StepResult:
        nonlocal now
        now = number + 1
        return taken(self, number, micro_batches, weight)

    def spoiled(*arguments: Any, **named: Any) -> AnswerLoss:
        loss = forward(*arguments, **named)
        if str(now) not in losses or rank() != on_rank:
            return loss
        return AnswerLoss(
            total=loss.total * float(losses[str(now)]), cross_entropy=loss.cross_entropy, weight=loss.weight
        )

    Engine.step, training.forward = step, spoiled  # type: ignore[method-assign]


def without_guard() -> None:
    """Every update is applied."""
    Guard.verdict = lambda self, loss, norm: torch.zeros(())  # type: ignore[method-assign]


def out_of_memory(above: int) -> None:
    """Micro-batches of more than so many packs do not fit."""
    forward = training.forward

    def tight(model: torch.nn.Module, batch: Batch, *arguments: Any, **named: Any) -> AnswerLoss:
        if len(batch.input_ids) > above:
            raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {len(batch.input_ids)} GiB.")
        return forward(model, batch, *arguments, **named)

    training.forward = tight


def one_share_for_all() -> None:
    """Every rank reads the share of rank 0."""

    def first(*arguments: Any, **named: Any) -> PlanFeed:
        return PlanFeed(*arguments, **(named | {"rank": 0}))

    training.PlanFeed = first  # type: ignore[misc, assignment]
