"""Which runs are one row of a table: those that differ by their seeds.

All else that decides them is equal, but for what the seed decides: which rows or documents are drawn, in which order,
and from which parent. Two runs with one seed are never one row: something else differs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from trackyard.record.comparing.differences import Kind, leaves_of
from trackyard.record.comparing.summary import RunSummary

BY_SEED: tuple[Kind, ...] = ("data", "parent")
"""What may differ between two seeds of one row."""
SEED = "seed"

Leaves = Mapping[tuple[Kind, str], str]


def deciding(run: RunSummary) -> Leaves:
    """Leaves of a run but for the seed, which parameters may name as well, and the machine, which decides no result."""
    return {
        key: value
        for key, value in leaves_of(run)
        if key[0] not in ("seed", "machine") and not (key[0] == "parameters" and key[1].rpartition(".")[2] == SEED)
    }


def seed_rows(runs: Sequence[RunSummary], leaves: Mapping[str, Leaves]) -> Iterator[list[RunSummary]]:
    """Runs of each row, in order. leaves: of each run by its label, as of `deciding`.

    Where a seed comes twice among runs that differ in `BY_SEED` alone, those are told apart by it as well; where it
    still comes twice, only parameters that are called a seed differ, and each run is a row.
    """
    for members in _alike(runs, leaves, without=BY_SEED):
        if _each_seed_once(members):
            yield members
            continue
        for part in _alike(members, leaves, without=()):
            if _each_seed_once(part):
                yield part
            else:
                yield from ([run] for run in part)


def _alike(
    runs: Sequence[RunSummary], leaves: Mapping[str, Leaves], *, without: Sequence[Kind]
) -> Iterable[list[RunSummary]]:
    """Runs of one status whose leaves are equal but for those of some kinds."""
    groups: dict[tuple[object, ...], list[RunSummary]] = {}
    for run in runs:
        key = (run.status, *(leaf for leaf in leaves[run.label].items() if leaf[0][0] not in without))
        groups.setdefault(key, []).append(run)
    return groups.values()


def _each_seed_once(runs: Sequence[RunSummary]) -> bool:
    return len({run.seed for run in runs}) == len(runs)
