"""The licences of everything that a chain leads to, data sets and starting models, and what follows for the result."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from trackyard.record.lineage.links import Link
from trackyard.record.lineage.shares import shares

UNKNOWN = "unknown"
"""Stands where nothing at hand states a licence; such a row is listed, never left out."""

_NOT_STATED = re.compile(r"(unknown\b.*|none|unspecified|not stated|other|n/?a)?", re.IGNORECASE | re.DOTALL)
"""What stands in the place of a licence where there is none; after "unknown" may follow where to look."""
_CONDITIONS = (
    (re.compile(r"\bNC\b|non-?\s?commercial|research (use )?only", re.IGNORECASE), "no commercial use"),
    (re.compile(r"\bSA\b|share-?\s?alike|\bA?GPL", re.IGNORECASE), "derivatives under the same licence"),
    (re.compile(r"\bND\b|no-?\s?deriv", re.IGNORECASE), "no derivatives"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class LicenceRow:
    """A data set, or a model that training started from. share: of the trained tokens, by stage; "" where no plan
    states it.
    """

    kind: Literal["data set", "model"]
    name: str
    licence: str
    source: str
    fingerprint: str
    share: str


def licence_rows(chain: Link) -> list[LicenceRow]:
    """Everything below `chain` that has terms of its own, once each: unknown licences first, then by name.

    A model that is made from a seed has none. A data set may go by several names, its fingerprint joins them; but it
    joins no two licences, and none of which nobody knows the terms (latents have the fingerprint of their encoder).
    """
    share = shares(chain)
    rows: dict[tuple[str, ...], LicenceRow] = {}
    for link in chain.walk():
        row = _row(link, share)
        if row is not None:
            joined = row.fingerprint and row.licence != UNKNOWN
            same = (row.fingerprint,) if joined else (row.name, row.source, row.fingerprint)
            rows.setdefault((row.kind, row.licence, *same), row)
    return sorted(rows.values(), key=lambda row: (row.licence != UNKNOWN, row.kind, row.name, row.fingerprint))


def _row(link: Link, share: dict[str, str]) -> LicenceRow | None:
    facts = link.facts
    stated = facts.get("licence", "").strip()
    licence = UNKNOWN if _NOT_STATED.fullmatch(stated) else stated
    if link.kind == "snapshot":
        fingerprint = facts.get("fingerprint", "")
        return LicenceRow(
            kind="data set",
            name=facts.get("dataset") or link.name.rpartition("snapshot ")[2],
            licence=licence,
            source=facts.get("source", ""),
            fingerprint=fingerprint,
            share=share.get(fingerprint, ""),
        )
    if link.kind == "model" and "made" not in facts:
        source = f"revision {facts['revision']}" if "revision" in facts else ""
        name = facts.get("id") or link.name.rpartition("model ")[2]
        return LicenceRow(kind="model", name=name, licence=licence, source=source, fingerprint="", share="")
    return None


def inherited_terms(rows: Iterable[LicenceRow]) -> str:
    """What the licences together mean for whatever was made, in sentences."""
    rows = list(rows)
    if not rows:
        return (
            "No link of this chain is described as a data set or as a model of others: it says nothing about terms, "
            "which does not mean that there are none."
        )
    known: dict[str, list[LicenceRow]] = {}
    for row in rows:
        if row.licence != UNKNOWN:
            known.setdefault(row.licence, []).append(row)
    sentences = []
    if known:
        listed = "; ".join(f"{licence} ({_counted(under)})" for licence, under in sorted(known.items()))
        sentences.append(f"What was made from these inherits the terms of {listed}.")
    for pattern, condition in _CONDITIONS:
        named = sorted(licence for licence in known if pattern.search(licence))
        if named:
            sentences.append(f"Of these, {' and '.join(named)} ask{'s' * (len(named) == 1)} for {condition}.")
    unknown = [row for row in rows if row.licence == UNKNOWN]
    if unknown:
        names = ", ".join(dict.fromkeys(row.name for row in unknown))
        sentences.append(
            f"The licence of {_counted(unknown)} is unknown ({names}): until it is found, nothing here shows that the "
            "result may be passed on."
        )
    return " ".join(sentences)


def _counted(rows: list[LicenceRow]) -> str:
    return " and ".join(
        f"{count} {kind}{'s' * (count != 1)}" for kind, count in sorted(Counter(row.kind for row in rows).items())
    )
