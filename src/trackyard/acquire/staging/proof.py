"""What a proof of a staged copy saw, entry by entry, and what has to be repaired.

Source: nine-datasets spec section 3.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from trackyard.acquire.staging.items import StagingItem, StagingTotals
from trackyard.acquire.staging.roots import Roots

SCHEMA = "trackyard-staging-proof/1"


@dataclass(frozen=True, kw_only=True, slots=True)
class StagedProblem:
    """Something that is missing or bad. fix: the command that repairs exactly that."""

    entry: str
    what: str
    fix: str


@dataclass(slots=True)
class EntryProof:
    """What was seen of an entry. form: how it is staged; counts: of the evaluated split; files, bytes: proved by
    digest; images: decoded."""

    entry: str
    form: str
    counts: dict[str, int] = field(default_factory=dict)
    samples: int = 0
    files: int = 0
    bytes: int = 0
    images: int = 0
    problems: list[StagedProblem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    items: list[StagingItem] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True, slots=True)
class StagedReport:
    """examined: files whose digest was compared and images that were decoded, of all entries."""

    selection: tuple[str, ...]
    at: Roots
    proofs: tuple[EntryProof, ...]
    totals: StagingTotals
    waivers: tuple[str, ...]

    @property
    def examined(self) -> int:
        return sum(proof.files + proof.images for proof in self.proofs)

    @property
    def problems(self) -> tuple[StagedProblem, ...]:
        """Everything that is missing or bad; that nothing was examined is a problem too."""
        found = tuple(problem for proof in self.proofs for problem in proof.problems)
        if self.examined:
            return found
        empty = StagedProblem(
            entry="",
            what=f"0 objects examined at {self.at.molmo.parent}",
            fix=stage_again(" ".join(self.selection), self.at),
        )
        return (empty, *found)

    @property
    def ok(self) -> bool:
        return not self.problems

    def document(self) -> dict[str, Any]:
        """The body of `trackyard-staging-proof/1`."""
        return {
            "selection": list(self.selection),
            "roots": {"at": self.at.as_json()},
            "ok": self.ok,
            "examined": self.examined,
            "items": [one.as_json(paths=False) for proof in self.proofs for one in proof.items],
            "entries": [
                {
                    "entry": proof.entry, "form": proof.form, "counts": proof.counts, "samples": proof.samples,
                    "files": proof.files, "bytes": proof.bytes, "images": proof.images, "notes": proof.notes,
                }
                for proof in self.proofs
            ],
            "totals": asdict(self.totals),
            "problems": [asdict(problem) for problem in self.problems],
            "waivers": list(self.waivers),
            "contradictions": [],
        }  # fmt: skip


def stage_again(names: str, at: Roots) -> str:
    """The command that brings entries again; what is there and right stays as it is."""
    return f"trackyard data sync {names} --from SOURCE --to {at.molmo.parent}"
