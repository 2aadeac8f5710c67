"""A link of a chain, as data: what is recorded of it, and what would prove it. Nothing is read or hashed here.

Builders make links from documents (`run_chain` from lineage.json, `stage_chain` from dvc.lock); `proof` proves any
chain; `words` and `page` show any chain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Kind = Literal["made", "checkpoint", "run", "plan", "snapshot", "model", "code", "image", "stage"]
"""made: exported files, a table, a figure. stage: one of a dvc.yaml. model: weights that a run started from."""

Algorithm = Literal["blake3", "md5", "sha256"]
"""blake3 is ours, md5 DVC's, sha256 that of an image file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """Two records of one thing, which must say the same. what: of what, in words."""

    what: str
    expected: str
    found: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Hashed:
    """A file, and the digest that it must have."""

    path: Path
    algorithm: Algorithm
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """One link. name: how it is called in messages, for example "parent: snapshot tallyqa".

    facts: what is recorded of it, for people (fingerprint, licence, source, commit). absent: why it cannot be proved
    here, in words, None where it can. fix: the command that restores it. inputs: what it was made from.
    A link without claims, files and `absent` would prove nothing, and is refused by the proof.
    """

    kind: Kind
    name: str
    fix: str
    facts: Mapping[str, str] = field(default_factory=dict)
    claims: tuple[Claim, ...] = ()
    files: tuple[Hashed, ...] = ()
    absent: str | None = None
    inputs: tuple[Link, ...] = ()

    def walk(self) -> Iterator[Link]:
        """This link and everything that it was made from, nearest first, each name once."""
        seen: set[str] = set()
        waiting = [self]
        while waiting:
            link = waiting.pop(0)
            if link.name not in seen:
                seen.add(link.name)
                yield link
                waiting += link.inputs
