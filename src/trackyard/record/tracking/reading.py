"""What was read of a run's spools so far. Reading on takes only what was appended since."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trackyard.record.points import PointCensus
from trackyard.record.rundir import spooled_attempt
from trackyard.record.spool import SpoolPart, read_spool

POINTS = ("metrics", "nonfinite")
SYSTEM = "system/"


@dataclass(kw_only=True, slots=True)
class Span:
    """The steps of one attempt, and the time of its last event in milliseconds; None where it has none."""

    first: int | None = None
    last: int | None = None
    last_ms: int | None = None

    def take(self, event: dict[str, Any]) -> None:
        """Count an event in."""
        self.last_ms = event.get("timestamp", self.last_ms)
        if event["event"] == "metrics":
            self.first = event["step"] if self.first is None else min(self.first, event["step"])
            self.last = event["step"] if self.last is None else max(self.last, event["step"])


@dataclass(kw_only=True, slots=True)
class Reading:
    """By spool file, oldest attempt first.

    facts: everything that is no point, of all that was read. new: all events of the last read. machine: in files that
    say which machine they are of, the points of it in the last read. censuses: of these points, by file.
    """

    facts: dict[str, SpoolPart] = field(default_factory=dict)
    new: dict[str, SpoolPart] = field(default_factory=dict)
    spans: dict[str, Span] = field(default_factory=dict)
    machine: dict[str, SpoolPart] = field(default_factory=dict)
    census: PointCensus = field(default_factory=PointCensus)
    censuses: dict[str, PointCensus] = field(default_factory=dict)

    @property
    def torn(self) -> int:
        """Spools that end in the middle of a line."""
        return sum(part.torn for part in self.facts.values())

    @property
    def damaged(self) -> int:
        """Lines that are no events."""
        return sum(part.damaged for part in self.facts.values())

    def follows(self, spool: Path) -> bool:
        """Whether the files of `spool` are those that were read, or longer; else all has to be read anew."""
        sizes = {path.name: path.stat().st_size for path in spool.glob("attempt-*.jsonl")}
        return all(sizes.get(name, -1) >= part.end for name, part in self.facts.items())

    def read_on(self, spool: Path) -> None:
        """Read what is new in the directory `spool`."""
        self.new = {}
        for path in sorted(spool.glob("attempt-*.jsonl"), key=spooled_attempt):
            earlier = self.facts.get(path.name)
            part = read_spool(path, earlier.end if earlier else 0)
            self.new[path.name] = part
            told = [*(earlier.events if earlier else []), *(e for e in part.events if e[1]["event"] not in POINTS)]
            damaged = part.damaged + (earlier.damaged if earlier else 0)
            self.facts[path.name] = replace(part, events=told, damaged=damaged)
            span = self.spans.setdefault(path.name, Span())
            for _, event in part.events:
                span.take(event)
        self.machine = {
            name: replace(part, events=[(end, _of_machine(event)) for end, event in part.events])
            for name, part in self.new.items()
            if any(event["event"] == "machine" for _, event in self.facts[name].events)
        }


def _of_machine(event: dict[str, Any]) -> dict[str, Any]:
    """An event without the points that are not of the machine."""
    if event["event"] not in POINTS:
        return event
    return event | {"values": {key: value for key, value in event["values"].items() if key.startswith(SYSTEM)}}
