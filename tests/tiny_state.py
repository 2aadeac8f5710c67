"""Training states without an engine: named tensors cut into any pieces, and ranks that are threads of one process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch

from trackyard.train.ranks import Ranks
from trackyard.train.state import KINDS, Fragment, TrainingState

SHAPES = {"embed.weight": (40, 8), "layer.weight": (16, 8), "layer.bias": (16,), "scale": ()}
TIMEOUT_S = 30.0


def values(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, dict[str, torch.Tensor]]:
    """Kind -> name -> tensor, different for every kind, name and seed."""
    generator = torch.Generator().manual_seed(seed)
    return {kind: {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()} for kind in KINDS}


def state_of(
    held: Mapping[str, Mapping[str, torch.Tensor]], pieces: Mapping[str, tuple[int, int]] | None = None, step: int = 0
) -> TrainingState:
    """A state that holds the ranges `pieces` (all of everything without them) of copies of the tensors `held`."""
    shapes = {name: tuple(tensor.shape) for name, tensor in held[KINDS[0]].items()}
    ranges = {name: (0, torch.Size(shape).numel()) for name, shape in shapes.items()} if pieces is None else pieces
    fragments = tuple(
        Fragment(
            name=name,
            shape=shapes[name],
            start=start,
            group=0,
            tensors={kind: held[kind][name].reshape(-1)[start:stop].clone() for kind in KINDS},
        )
        for name, (start, stop) in ranges.items()
        if start < stop
    )
    return TrainingState(shapes=shapes, steps=(torch.tensor(float(step)),), held=fragments, written=fragments)


def same(state: TrainingState, whole: Mapping[str, Mapping[str, torch.Tensor]]) -> bool:
    """Whether every piece of the state is that part of `whole`, to the bit."""
    return all(
        torch.equal(piece.tensors[kind], whole[kind][piece.name].reshape(-1)[piece.start : piece.start + piece.numel])
        for piece in state.held
        for kind in KINDS
    )


LONE = Ranks(rank=0, world=1, context=1, context_group=None, host_group=None)  # type: ignore[arg-type]


class Board:
    """What the threads of one world tell each other."""

    def __init__(self, world: int) -> None:
        self.barrier = threading.Barrier(world, timeout=TIMEOUT_S)
        self.given: dict[int, Any] = {}

    def exchange(self, rank: int, value: Any) -> list[Any]:
        self.given[rank] = value
        self.barrier.wait()
        found = [self.given[number] for number in range(self.barrier.parties)]
        self.barrier.wait()
        return found

    def all_gather_object(self, found: list[Any], value: Any, group: Any) -> None:
        """In the place of torch.distributed's."""
        found[:] = self.exchange(group, value)


@dataclass(frozen=True, kw_only=True)
class ThreadRanks(Ranks):
    """A rank that is a thread; `host_group` is its number."""

    board: Board

    def total(self, values: Sequence[float]) -> list[float]:
        return [sum(column) for column in zip(*self.board.exchange(self.rank, list(values)), strict=True)]


def on_threads(world: int, work: Callable[[Ranks], Any], board: Board | None = None) -> list[Any]:
    """What `work` returns or raises on each of `world` ranks."""
    board = Board(world) if board is None else board
    everyone = [
        ThreadRanks(rank=rank, world=world, context=1, context_group=None, host_group=rank, board=board)  # type: ignore[arg-type]
        for rank in range(world)
    ]
    with ThreadPoolExecutor(max_workers=world) as pool:
        futures = [pool.submit(work, ranks) for ranks in everyone]
    return [future.exception() or future.result() for future in futures]
