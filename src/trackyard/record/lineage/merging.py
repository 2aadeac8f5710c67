"""Chains that are joined: every name stands for one link, and what two chains share is there once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from trackyard.digest import short
from trackyard.record.lineage.links import Kind, Link


def mapped(chain: Link, change: Callable[[Link], Link], *, kept: Callable[[Link], bool] = lambda link: False) -> Link:
    """The chain with every link changed, inputs first; what was one link stays one. kept: stays with all below it."""
    done: dict[int, Link] = {}

    def visit(link: Link) -> Link:
        if kept(link):
            return link
        if id(link) not in done:
            done[id(link)] = change(replace(link, inputs=tuple(visit(one) for one in link.inputs)))
        return done[id(link)]

    return visit(chain)


PARENT = "parent: "
"""What names of links begin with that belong to a run's parent, once for each generation."""
_TELLING: Mapping[Kind, str] = {"run": "run", "plan": "fingerprint", "code": "commit"}
"""The fact that tells one link of a kind from the next, where the names of all exports' links are the same."""


class Joined:
    """The names used so far, and what each stands for."""

    def __init__(self) -> None:
        self._known: dict[str, Link] = {}

    def add(self, chain: Link, place: str) -> Link:
        """`chain` with names that no other link of the joined chains has.

        A name that already stands for something else gets `place` before it; the same link is taken as it is known.
        """
        known = self._known
        return mapped(chain, lambda link: self._named(link, place), kept=lambda link: known.get(link.name) is link)

    def _named(self, link: Link, place: str) -> Link:
        wanted, attempt = link, 1
        while (known := self._known.get(wanted.name)) is not None:
            if _same(known, wanted):
                return known
            before = place if attempt == 1 else f"{place} ({attempt})"
            wanted = replace(link, name=f"{before}: {link.name}")
            attempt += 1
        self._known[wanted.name] = wanted
        return wanted


def told_apart(chain: Link, place: str) -> Link:
    """The chain of the export at `place`, with names that tell its links from those of other exports' chains.

    A run is called by its id, whether it is the export's own or a parent's, and a plan and code by what they are; so
    what several exports have in common is joined.
    """

    def named(link: Link) -> Link:
        bare = link.name.rpartition(PARENT)[2]
        if link.kind == "made":
            taken = f"{bare} taken of run {link.facts.get('run', 'unknown')}"
            return replace(link, name=f"{place}: {bare}" if link.name == chain.name else taken)
        told = link.facts.get(_TELLING.get(link.kind, ""))
        return replace(link, name=f"{bare} {short(told)}" if told else bare)

    return mapped(chain, named)


def _same(a: Link, b: Link) -> bool:
    """True for links that state the same and were made from the same; of inputs the names decide, they are joined."""
    return (
        (a.kind, a.claims, a.files, a.absent) == (b.kind, b.claims, b.files, b.absent)
        and dict(a.facts) == dict(b.facts)
        and [one.name for one in a.inputs] == [one.name for one in b.inputs]
    )
