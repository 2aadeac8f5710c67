"""The alarm for results that were copied: two cells of a study whose numbers are the same to the last bit.

Two training runs differ in the last digits of any loss, so equal numbers mean that one checkpoint was scored twice,
that a file was copied, or that the weights were never used. Source: pile-ffn spec section 8.4; issue on the Pile-FFN
track (copied seeds).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from trackyard.errors import DataError

EQUAL_SHARE = 0.5
"""From this share of equal numbers on, results count as copied. Independent float32 losses coincide about once in
1e6, so that a few equal ones are no proof, and half are."""


class CopiedResult(DataError):
    """Two results are one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outputs:
    """What one checkpoint put out.

    cell: arm and seed. checkpoint: digest of the weights that were scored. numbers: by document id (or any other name),
    something that moves with every weight, as a loss in nats; not a rate or a count, which two models may share.
    """

    cell: str
    checkpoint: str
    numbers: Mapping[str, float]


def refuse_copies(outputs: Sequence[Outputs]) -> int:
    """How many pairs of cells were compared; CopiedResult if two share a checkpoint, or half of their common numbers.

    DataError where nothing was compared, which is no proof that nothing was copied: fewer than two cells, or two that
    have no name in common.
    """
    if len(outputs) < 2:
        raise DataError(
            what=f"copies are looked for among {len(outputs)} cells: {', '.join(each.cell for each in outputs) or '-'}",
            why="no pair was compared, so nothing shows that no result was copied",
            fix="evaluate all declared cells first: dvc repro pipelines/pile_ffn/dvc.yaml",
        )
    pairs = list(combinations(outputs, 2))
    for first, second in pairs:
        common = first.numbers.keys() & second.numbers.keys()
        if not common:
            raise DataError(
                what=f"{first.cell} and {second.cell} have no document in common",
                why="nothing shows then that one is not a copy of the other",
                fix="score both on the same document set",
            )
        equal = sum(first.numbers[name] == second.numbers[name] for name in common)
        same = first.checkpoint == second.checkpoint
        if same or equal >= EQUAL_SHARE * len(common):
            raise CopiedResult(
                what=f"{first.cell} and {second.cell} agree to the last bit on {equal} of {len(common)} documents; "
                + (f"both scored checkpoint {first.checkpoint}" if same else "their checkpoints differ"),
                why="two trained models never do: they would count as two replicates and be one"
                if same
                else "the weights were not what was scored, or a result was copied over another",
                fix=f"remove the results of {second.cell} and run the stages that made them again",
            )
    return len(pairs)
