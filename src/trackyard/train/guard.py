"""Which updates stay out of the weights, decided on the device.

The host never waits for a decision: it queues the arithmetic, and the optimiser's kernel reads the result. All ranks
pass the same global loss and gradient norm, bit for bit, and therefore decide alike. Sources: reliability spec F20 and
section 2; performance spec section 6 (no host synchronisation in the step).

Shapes: W the window; K steps between two renewals of the limits; two columns, loss and gradient norm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from trackyard.errors import CheckpointError
from trackyard.train.guard_parameters import GuardParameters

NO_NUMBER_LOSS = "the loss is no number (NaN, Inf, or 0/0 where no token is a target)"
NO_NUMBER_NORM = "the gradient norm is no number"
FLOOR = 0.01
"""Least standard deviation, as a share of the mean: a loss that hardly varies must not make every step a spike."""
_NONE = torch.finfo(torch.float64).max
"""The limit while there is no history: every number is below it, infinity is not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Skipped:
    """An update that was left out. step: its number in the plan, from 0. Magnitudes of what it was judged by."""

    step: int
    loss: float
    gradient_norm: float
    reasons: tuple[str, ...]


class Guard:
    """Compares each step with those applied before it.

    An update is left out if its loss or gradient norm is no number, or has a magnitude of more than sigma standard
    deviations above the mean of the window. Such a step does not enter the window. The limits are renewed every
    W / 16 steps, so that most steps cost a handful of operations.
    """

    def __init__(self, parameters: GuardParameters, *, device: torch.device, next_step: int = 0) -> None:
        """next_step: number of the step that is judged first."""
        self._parameters = parameters
        self._every = max(1, parameters.window // 16)
        # The last row is for what does not count.
        self._window = torch.zeros(parameters.window + 1, 2, dtype=torch.float64, device=device)
        # Applied steps in it, on the device, since the host does not know which those are.
        self._applied = torch.zeros((), dtype=torch.int64, device=device)
        self._limits = torch.full((2,), _NONE, dtype=torch.float64, device=device)
        self._since: list[torch.Tensor] = []
        self._next = next_step
        self._unread: list[tuple[int, torch.Tensor, torch.Tensor]] = []
        self._new: list[Skipped] = []
        self._in_a_row: list[int] = []
        self._total = 0

    def verdict(self, loss: torch.Tensor, gradient_norm: torch.Tensor) -> torch.Tensor:
        """1.0 to leave the update out, 0.0 to apply it: float32 [] on the guard's device, as `found_inf` wants it.

        loss, gradient_norm: [] on any device, of the global batch, the norm before clipping. Called once per step.
        """
        like = self._limits
        seen = torch.stack((loss.detach().to(like), gradient_norm.detach().to(like))).abs_()
        skip = (seen <= like).all().logical_not_()
        self._unread.append((self._next, seen, like))
        self._next += 1
        self._since.append(seen)
        if len(self._since) == self._every:
            self._renew()
        return skip.float()

    def _renew(self) -> None:
        """Move the applied ones of the last K steps into the window, and take the limits from it."""
        rows = torch.stack(self._since)
        self._since = []
        size = self._parameters.window
        good = (rows <= self._limits).all(1)
        place = self._applied - 1 + good.cumsum(0)
        self._window.index_copy_(0, torch.where(good, place % size, size), rows)
        self._applied += good.sum()
        filled, held = self._applied.clamp(1, size), self._window[:size]
        mean, square = held.sum(0) / filled, held.square().sum(0) / filled
        variance = torch.maximum(square - mean.square(), (FLOOR * mean).square())
        limits = mean + self._parameters.sigma * variance.sqrt()
        self._limits = torch.where(self._applied >= self._parameters.minimum_history, limits, _NONE)

    def skipped(self) -> list[Skipped]:
        """Updates left out since the last call, oldest first. Waits for the device: for log points only."""
        self._read()
        new, self._new = self._new, []
        return new

    @property
    def in_a_row(self) -> tuple[int, ...]:
        """Steps at the end of what has been read that were left out one after the other."""
        return tuple(self._in_a_row)

    @property
    def total(self) -> int:
        """Updates left out since the run began, as far as they have been read."""
        return self._total

    def _read(self) -> None:
        if not self._unread:
            return
        seen = torch.stack([row for _, row, _ in self._unread])
        limits = torch.stack([row for _, _, row in self._unread])
        for (step, _, _), row in zip(self._unread, torch.cat((seen, limits), dim=1).tolist(), strict=True):
            reasons = _reasons(*row)
            if not reasons:
                self._in_a_row = []
                continue
            self._new.append(Skipped(step=step, loss=row[0], gradient_norm=row[1], reasons=reasons))
            self._in_a_row.append(step)
            self._total += 1
        self._unread = []

    def go_on_at(self, step: int) -> None:
        """After a rollback: the next step judged is `step`, and what was skipped in a row is behind."""
        self._read()
        self._next, self._in_a_row = step, []

    def state(self) -> dict[str, torch.Tensor]:
        """What a checkpoint stores so that a resumed run decides bit for bit alike. Waits for the device."""
        self._read()
        empty = self._limits.new_empty(0, 2)
        return {
            "window": self._window[:-1].cpu(),
            "applied": self._applied.cpu(),
            "limits": self._limits.cpu(),
            "since": (torch.stack(self._since) if self._since else empty).cpu(),
            "next_step": torch.tensor(self._next),
            "in_a_row": torch.tensor(self._in_a_row, dtype=torch.int64),
            "total": torch.tensor(self._total),
        }

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Go on from `state`. Raises CheckpointError if it is not that of a guard with this window."""
        own, found = self.state(), {name: tuple(tensor.shape) for name, tensor in state.items()}
        if own.keys() != state.keys() or found["window"] != tuple(own["window"].shape):
            raise CheckpointError(
                what=f"the guard's state in the checkpoint is {found}, the window is {self._parameters.window} steps",
                why="steps would be judged by another history than in the run that wrote it",
                fix="resume with the guard.window that the run had",
            )
        self._window[:-1] = state["window"].to(self._window)
        self._applied = state["applied"].to(self._applied)
        self._limits = state["limits"].to(self._limits)
        self._since = list(state["since"].to(self._limits))
        self._next, self._total = int(state["next_step"]), int(state["total"])
        self._in_a_row = [int(step) for step in state["in_a_row"]]
        self._unread, self._new = [], []


def _reasons(loss: float, norm: float, loss_limit: float, norm_limit: float) -> tuple[str, ...]:
    """Why an update was left out; nothing if it was not. The comparisons are those that the device made."""
    reasons = []
    for value, limit, name, no_number in (
        (loss, loss_limit, "loss", NO_NUMBER_LOSS),
        (norm, norm_limit, "gradient norm", NO_NUMBER_NORM),
    ):
        if not math.isfinite(value):
            reasons.append(no_number)
        elif value > limit:
            reasons.append(f"spike of the {name}: {value:.6g} is above the limit {limit:.6g}")
    return tuple(reasons)
