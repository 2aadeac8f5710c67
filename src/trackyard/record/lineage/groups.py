"""A chain made small enough to draw: links of one sort that the same things were made from become one group.

18 data sets of one plan are one box, and so are the 12 trainings of one matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from trackyard.record.lineage.links import Kind, Link

KIND_WORDS: Mapping[Kind, tuple[str, str]] = {
    "made": ("result", "results"),
    "checkpoint": ("checkpoint", "checkpoints"),
    "run": ("run", "runs"),
    "plan": ("plan", "plans"),
    "snapshot": ("data set", "data sets"),
    "model": ("starting model", "starting models"),
    "code": ("code", "pieces of code"),
    "image": ("container image", "container images"),
    "stage": ("pipeline stage", "pipeline stages"),
}
"""What people call each kind: one of it, several of it."""

_ITEM = "@"
"""Stands between the name of a stage and its item of a matrix."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Links of one kind. layer: 0 for what the chain is of; inputs: of the groups, by number, that it was made from,
    without those that follow through another group.
    """

    kind: Kind
    title: str
    links: tuple[Link, ...]
    layer: int
    inputs: tuple[int, ...]


def groups(chain: Link) -> list[Group]:
    """The groups of a chain, by layer; the first is that of `chain` itself."""
    links = _ordered(chain)
    consumers: dict[str, list[str]] = {link.name: [] for link in links}
    for link in links:
        for one in link.inputs:
            consumers[one.name].append(link.name)
    layers: dict[str, int] = {}
    number: dict[str, int] = {}
    members: list[list[Link]] = []
    known: dict[object, int] = {}
    for link in links:
        above = consumers[link.name]
        layers[link.name] = 1 + max((layers[name] for name in above), default=-1)
        key: object = (link.kind, frozenset(number[name] for name in above))
        if link.kind == "stage":
            key = (link.kind, link.name.partition(_ITEM)[0])
        if key not in known:
            known[key] = len(members)
            members.append([])
        number[link.name] = known[key]
        members[known[key]].append(link)
    made_from = [{number[one.name] for link in group for one in link.inputs} - {at} for at, group in enumerate(members)]
    made = [
        Group(
            kind=group[0].kind,
            title=_title(group),
            links=tuple(group),
            layer=max(layers[link.name] for link in group),
            inputs=tuple(sorted(_direct(at, made_from))),
        )
        for at, group in enumerate(members)
    ]
    return _by_layer(made)


def _ordered(chain: Link) -> list[Link]:
    """Every link once, each after everything that was made from it."""
    done: set[str] = set()
    backwards: list[Link] = []

    def visit(link: Link) -> None:
        if link.name not in done:
            done.add(link.name)
            for one in reversed(link.inputs):
                visit(one)
            backwards.append(link)

    visit(chain)
    return backwards[::-1]


def _direct(at: int, made_from: list[set[int]]) -> set[int]:
    """The inputs of a group that no other of its inputs was made from."""
    return {one for one in made_from[at] if not any(one in _below(other, made_from) for other in made_from[at] - {one})}


def _below(at: int, made_from: list[set[int]]) -> set[int]:
    found: set[int] = set()
    waiting = list(made_from[at])
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += made_from[one]
    return found


def _by_layer(made: list[Group]) -> list[Group]:
    order = sorted(range(len(made)), key=lambda at: (made[at].layer, at))
    place = {old: new for new, old in enumerate(order)}
    return [replace(made[at], inputs=tuple(sorted(place[one] for one in made[at].inputs))) for at in order]


def _title(links: list[Link]) -> str:
    if len(links) == 1:
        return links[0].name
    if links[0].kind == "stage":
        return f"{links[0].name.partition(_ITEM)[0]}, {len(links)} times"
    return f"{len(links)} {KIND_WORDS[links[0].kind][1]}"
