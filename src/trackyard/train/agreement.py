"""Ranks that fail together: what one of them found wrong is raised by all, so that none waits for the others."""

from __future__ import annotations

from typing import TypeVar

import torch.distributed as dist

from trackyard.errors import TrackyardError
from trackyard.train.ranks import Ranks

T = TypeVar("T")


def agree(ranks: Ranks, error: TrackyardError | None) -> None:
    """Raise the error of the lowest rank that has one, on every rank; all ranks call this."""
    if not ranks.total([float(error is not None)])[0]:
        return
    raise next(one for one in gathered(ranks, error) if one is not None)


def gathered(ranks: Ranks, value: T) -> list[T]:
    """What each rank passes, in their order; values that can be pickled, between processes of one run."""
    found: list[T] = [value] * ranks.world
    if ranks.world > 1:
        dist.all_gather_object(found, value, group=ranks.host_group)
    return found
