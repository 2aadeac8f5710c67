"""The account of an import: what became a row, and every record that did not, by reason and with its place.

Source: reliability spec P7 and F7.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from trackyard.acquire.importing.records import UnusableRecord
from trackyard.errors import DataError

EXAMPLES = 3
"""Records that the report names per reason."""


@dataclass(frozen=True, order=True, slots=True)
class Example:
    """A record that was left out. file: empty where there is but one; unit: line, row or document."""

    file: str
    number: int
    unit: str
    identity: str
    detail: str

    def __str__(self) -> str:
        file = f"{self.file} " if self.file else ""
        identity = f" ({self.identity})" if self.identity else ""
        return f"{file}{self.unit} {self.number}{identity}: {self.detail}"


@dataclass(slots=True)
class Account:
    """records: those that are part of a row; unusable: those left out, by reason; notes: records that were changed on
    the way, by what was done. strict: the first bad record stops the import."""

    records: int = 0
    unusable: Counter[str] = field(default_factory=Counter)
    expected: set[str] = field(default_factory=set)
    """Reasons that are no fault of the source."""
    notes: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[Example]] = field(default_factory=dict)
    strict: bool = False

    def use(self, notes: Iterable[str] = ()) -> None:
        """One more record is part of a row."""
        self.records += 1
        self.notes.update(notes)

    def leave_out(self, problem: UnusableRecord, example: Example) -> None:
        """Count a record; DataError names it where the import is strict and the record is bad."""
        if self.strict and not problem.expected:
            raise DataError(
                what=f"{problem.reason}: {example}",
                why="a strict import stops at the first record that cannot be used",
                fix="put the record right, or import without --strict: bad records are then left out and counted",
            )
        self.unusable[problem.reason] += 1
        if problem.expected:
            self.expected.add(problem.reason)
        known = self.examples.setdefault(problem.reason, [])
        if len(known) < EXAMPLES:
            known.append(example)

    def add(self, other: Account) -> None:
        """Take in another account."""
        self.records += other.records
        self.unusable += other.unusable
        self.expected |= other.expected
        self.notes += other.notes
        for reason, examples in other.examples.items():
            self.examples[reason] = sorted([*self.examples.get(reason, []), *examples])[:EXAMPLES]

    @property
    def bad(self) -> int:
        """Records left out that are a fault of the source."""
        return sum(count for reason, count in self.unusable.items() if reason not in self.expected)

    def check_budget(self, dataset: str, max_bad_records: float | None) -> None:
        """DataError if more than this fraction of all records is bad; None allows any."""
        total = self.records + self.unusable.total()
        if max_bad_records is None or self.bad <= max_bad_records * total:
            return
        raise DataError(
            what=f"{self.bad:,} of {total:,} records of {dataset} are bad, {self.bad / total:.2%}; the budget is "
            f"{max_bad_records:.2%}",
            why="\n      ".join(self.lines()),
            fix="put right what is named above, or allow it: --max-bad-records "
            f"{min(1.0, (self.bad * 10_000 // total + 1) / 10_000):g}",
        )

    def lines(self) -> Iterator[str]:
        """Records left out by reason, the most frequent first, each with its first examples; then the notes."""
        for reason, count in sorted(self.unusable.items(), key=lambda item: (-item[1], item[0])):
            yield f"left out: {count:,} × {reason}"
            yield from (f"  {example}" for example in self.examples.get(reason, ()))
        for note, count in sorted(self.notes.items()):
            yield f"changed: {count:,} × {note}"

    def document(self) -> dict[str, Any]:
        """The account as plain JSON."""
        return {
            "records": self.records,
            "unusable": dict(sorted(self.unusable.items())),
            "expected": sorted(self.expected),
            "notes": dict(sorted(self.notes.items())),
            "examples": {reason: [asdict(item) for item in items] for reason, items in sorted(self.examples.items())},
        }

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Account:
        """The inverse of `document`."""
        return cls(
            records=document["records"],
            unusable=Counter(document["unusable"]),
            expected=set(document["expected"]),
            notes=Counter(document["notes"]),
            examples={reason: [Example(**item) for item in items] for reason, items in document["examples"].items()},
        )
