"""One pack on C ranks (Ulysses): which tokens a rank holds, and how features reach the rank that holds their tokens.

Between layers a rank holds L / C tokens with all heads; while it attends, all L tokens with 1 / C of the heads
(trackyard.models.attend). Source: molmo2 spec section 12.

Shapes: N packs of L tokens; C ranks; M features of placeholders; D hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from trackyard.models.sending import sent


@dataclass(frozen=True, kw_only=True)
class ContextGroup:
    """The ranks that share each pack. rank: place of this process among them; degree: C."""

    group: dist.ProcessGroup
    rank: int
    degree: int

    @classmethod
    def of(cls, group: dist.ProcessGroup | None) -> ContextGroup | None:
        """From the process group of this rank's neighbours; None, a pack on one rank, stays None."""
        if group is None:
            return None
        return cls(group=group, rank=dist.get_rank(group), degree=dist.get_world_size(group))


def degree_of(context: ContextGroup | None) -> int:
    """C, 1 without a group."""
    return 1 if context is None else context.degree


def own_columns(length: int, context: ContextGroup | None) -> slice:
    """Which of the L tokens this rank holds; `length` is a multiple of C."""
    if context is None:
        return slice(0, length)
    size = length // context.degree
    return slice(context.rank * size, (context.rank + 1) * size)


def owned_features(
    encoded_ED: torch.Tensor,
    spans: Sequence[tuple[int, int]],
    places_M: NDArray[np.intp],
    length: int,
    context: ContextGroup,
) -> tuple[torch.Tensor, NDArray[np.intp]]:
    """Features of this rank's tokens, whichever rank encoded them, and where its tokens want them.

    encoded_ED: features spans[rank] of the M, encoded here. spans: (first, one past the last) of each rank, rising and
    together all M. places_M: placeholder of each feature in the flattened [N * L], rising. Returned places are in the
    flattened [N * L / C] of this rank. Every rank calls this; its backward sends gradients the way back.
    """
    size = length // context.degree
    row_M, column_M = np.divmod(places_M, length)
    owner_M = column_M // size
    start, stop = spans[context.rank]
    # By owner, and in rising order for each: the receiver then gets them as they stand in its slice of each pack.
    order_E = np.argsort(owner_M[start:stop], kind="stable")
    leaving = np.bincount(owner_M[start:stop], minlength=context.degree).tolist()
    arriving = [int((owner_M[first:last] == context.rank).sum()) for first, last in spans]
    ordered_ED = encoded_ED.index_select(0, sent(order_E, encoded_ED.device))
    features: torch.Tensor = _Exchange.apply(ordered_ED, leaving, arriving, context.group)  # type: ignore[no-untyped-call]
    mine = owner_M == context.rank
    return features, row_M[mine] * size + column_M[mine] - context.rank * size


class _Exchange(torch.autograd.Function):
    """Rows of a matrix to other ranks, as many to each as it is told; gradients take the way back."""

    @staticmethod
    def forward(
        ctx: Any, rows: torch.Tensor, leaving: list[int], arriving: list[int], group: dist.ProcessGroup
    ) -> torch.Tensor:
        ctx.leaving, ctx.arriving, ctx.group = leaving, arriving, group
        return _sent_rows(rows, leaving, arriving, group)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        return _sent_rows(gradients[0], ctx.arriving, ctx.leaving, ctx.group), None, None, None


def _sent_rows(rows: torch.Tensor, leaving: list[int], arriving: list[int], group: dist.ProcessGroup) -> torch.Tensor:
    received = rows.new_empty((sum(arriving), *rows.shape[1:]))
    dist.all_to_all_single(received, rows.contiguous(), arriving, leaving, group=group)
    return received
