"""What a run tells when it has come to its end: numbers beside its curves, the model it made, that it is over."""

from __future__ import annotations

from collections.abc import Mapping

from trackyard.record.spool import Spool

CURVE = "train/loss"
"""Spooled step by step: its last point is the loss of the run."""


def tell_end(spool: Spool, values: Mapping[str, float], step: int, *, model: str, export: str) -> None:
    """values: by the names of all tracks. model: its name in the registry. export: from the root of the repository."""
    spool.metrics({name: value for name, value in values.items() if name != CURVE}, step)
    spool.model(model, export)
    spool.status("finished")
