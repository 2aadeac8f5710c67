"""A chain in words: a tree for the terminal, a document for programs, the licences of all that it leads to.

No data, weights or results are hashed for it; what the records contradict already is said.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trackyard.record.lineage.licences import LicenceRow, inherited_terms, licence_rows
from trackyard.record.lineage.links import Hashed, Link

NOT_HASHED = "This is what the records say; no data, weights or results were hashed."
"""What every view of a chain says of itself."""
_STEP = "  "
_DIGEST = 12
"""Characters of a digest that a person reads; the document for programs has all of them."""
_LONG = re.compile(r"\b[0-9a-f]{32,}\b(\.dir)?")
_SHORT = ("snapshot", "code", "image")
"""Kinds of which a chain has many: one line for each."""


LICENCE_HEAD = ("name", "is a", "licence", "share of tokens", "source", "fingerprint")
"""Columns of the table of licences."""


def tree_lines(chain: Link) -> Iterator[str]:
    """The chain, each link below what was made from it; a link that several were made from is told once."""
    told: set[str] = set()

    def lines(link: Link, depth: int) -> Iterator[str]:
        margin = _STEP * depth
        if link.name in told:
            yield f"{margin}{link.name} (as above)"
            return
        told.add(link.name)
        if link.kind in _SHORT:
            facts = ", ".join(f"{key} {shown(value)}" for key, value in link.facts.items() if key != "dataset")
            yield f"{margin}{link.name}" + (f": {facts}" if facts else "")
        else:
            yield f"{margin}{link.name}"
            yield from (f"{margin}{_STEP}- {key}: {shown(value)}" for key, value in link.facts.items())
        yield from (f"{margin}{_STEP}! {problem}" for problem in problems(link))
        for one in link.inputs:
            yield from lines(one, depth + 1)

    return lines(chain, 0)


def problems(link: Link) -> Iterator[str]:
    """What can be said against a link without reading a file."""
    if link.absent is not None:
        yield f"cannot be proved here: {shown(link.absent)}. {link.fix}"
    for claim in link.claims:
        if claim.expected != claim.found:
            yield f"{claim.what}: recorded is {shown(claim.expected)}, found is {shown(claim.found)}"


def shown(value: str) -> str:
    """A fact as people read it: digests by their beginning."""
    return _LONG.sub(lambda found: f"{found[0][:_DIGEST]}…", value)


def licence_lines(chain: Link) -> Iterator[str]:
    """The table of licences and the terms that follow."""
    rows = licence_rows(chain)
    if rows:
        yield from _table([LICENCE_HEAD, *(licence_cells(row) for row in rows)])
    yield inherited_terms(rows)


def licence_cells(row: LicenceRow) -> tuple[str, ...]:
    """A row as people read it, below `LICENCE_HEAD`."""
    return (row.name, row.kind, row.licence, row.share, row.source, shown(row.fingerprint))


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    filled = [index for index in range(len(rows[0])) if any(row[index] for row in rows[1:])]
    widths = {index: max(len(row[index]) for row in rows) for index in filled}
    for row in rows:
        yield "  ".join(row[index].ljust(widths[index]) for index in filled).rstrip()


def chain_document(chain: Link, repository: Path) -> dict[str, Any]:
    """The chain as one JSON object: the links by name with all their facts, and the licences.

    Paths are relative to `repository` where they lie in it.
    """
    rows = licence_rows(chain)
    return {
        "root": chain.name,
        "links": [_link_document(link, repository.resolve()) for link in chain.walk()],
        "licences": [dataclasses.asdict(row) for row in rows],
        "terms": inherited_terms(rows),
    }


def _link_document(link: Link, root: Path) -> Mapping[str, Any]:
    return {
        "kind": link.kind,
        "name": link.name,
        "facts": dict(link.facts),
        "absent": link.absent,
        "fix": link.fix,
        "claims": [{"what": one.what, "expected": one.expected, "found": one.found} for one in link.claims],
        "files": [_file_document(file, root) for file in link.files],
        "inputs": [one.name for one in link.inputs],
    }


def _file_document(file: Hashed, root: Path) -> dict[str, str]:
    path = file.path.resolve()
    shown_path = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
    return {"path": shown_path, "algorithm": file.algorithm, "digest": file.digest}
