"""Typed parameters of the guard, without tensors. Source: reliability spec section 2 (spikes and NaN)."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from trackyard.parameters import Parameters


class GuardParameters(Parameters):
    """When an update is left out of the weights, and when the run goes back to its last checkpoint."""

    window: int = Field(default=128, ge=2)
    """Applied steps whose losses and gradient norms a new step is compared with."""
    sigma: float = Field(default=6.0, gt=0.0)
    """A loss or a gradient norm this many standard deviations above the mean of the window is a spike."""
    minimum_history: int = Field(default=32, ge=2)
    """Applied steps before anything is called a spike; what is no number is left out from the first step on."""
    rollback_after: int = Field(default=8, ge=1)
    """Skipped steps in a row after which the run goes back to the checkpoint before them, and on behind them."""
    max_rollbacks: int = Field(default=3, ge=0)
    """Times a run may go back; the next time it stops instead."""

    @model_validator(mode="after")
    def _history_fits(self) -> Self:
        if self.minimum_history > self.window:
            raise ValueError(
                f"minimum_history={self.minimum_history} above window={self.window}: the window would never hold enough"
            )
        return self
