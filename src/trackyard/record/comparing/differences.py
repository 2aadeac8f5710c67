"""What differs between runs: their identities leaf by leaf, the data and the machines that they were measured on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, get_args

from trackyard.digest import canonical_json
from trackyard.record.comparing.summary import RunSummary
from trackyard.record.identity import flatten

Kind = Literal[
    "track", "stage", "parameters", "data", "code", "image", "parent", "model", "seed", "evaluation", "machine"
]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""In the order in which they are told: what people change on purpose first."""
_SCALARS = (str, int, float, bool, type(None))


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One leaf. values: by run, in JSON; None where a run has no such leaf, or nobody knows its value."""

    kind: Kind
    name: str
    values: tuple[str | None, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Differences:
    """differing: by kind, then by name. equal: number of leaves that all runs share, by kind."""

    differing: tuple[Difference, ...]
    equal: Mapping[Kind, int]

    def of(self, kind: Kind) -> tuple[Difference, ...]:
        return tuple(one for one in self.differing if one.kind == kind)


def differences(runs: Sequence[RunSummary]) -> Differences:
    """Compare runs leaf by leaf."""
    leaves = [dict(leaves_of(run)) for run in runs]
    differing, equal = [], dict.fromkeys(KINDS, 0)
    for kind, name in sorted({key for each in leaves for key in each}, key=lambda key: (KINDS.index(key[0]), key[1])):
        values = tuple(each.get((kind, name)) for each in leaves)
        if len(set(values)) > 1:
            differing.append(Difference(kind=kind, name=name, values=values))
        else:
            equal[kind] += 1
    return Differences(differing=tuple(differing), equal={kind: count for kind, count in equal.items() if count})


def leaves_of(run: RunSummary) -> Iterator[tuple[tuple[Kind, str], str]]:
    """Everything that decides the result of a run, what that was measured on, and the machine: ((kind, name), JSON)."""
    spec = run.spec
    named: list[tuple[Kind, Any]] = [
        ("track", {"track": spec["track"]}),
        ("stage", {"stage": spec["stage"]}),
        ("parameters", spec["parameters"]),
        ("data", {"plan": spec["plan"], "snapshot": spec["snapshots"]}),
        ("code", {"commit": spec["code"]["commit"], "uncommitted": spec["code"]["dirty_digest"]}),
        ("image", {"image": spec["image"]}),
        ("parent", {"parent": spec["parent"]}),
        ("model", spec["model"]),
        ("seed", {"seed": spec["seed"]}),
    ]
    for kind, values in named:
        for name, value in flatten(values):
            yield (kind, name), _text(value)
    for name, digest in sorted(run.evaluated.items()):
        yield ("evaluation", name), _text(digest)
    for name, known in (("world", run.world), ("device", run.device)):
        if known is not None:
            yield ("machine", name), _text(known)


def _text(value: Any) -> str:
    """A leaf in canonical JSON."""
    return _scalar(value) if isinstance(value, _SCALARS) else canonical_json(value).decode()


@lru_cache(maxsize=1 << 16, typed=True)
def _scalar(value: str | float | bool | None) -> str:
    # Thousands of runs share most of their leaves. Typed: 1, 1.0 and true are equal in Python and not in JSON.
    return canonical_json(value).decode()
