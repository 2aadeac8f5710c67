"""One attempt's spool file, read once from end to end and folded: a run may hold millions of points.

Lines count as `record.spool.read_spool` counts them: one that is torn or no event is passed over here and told by sync.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from trackyard.record.comparing.finals import Finals
from trackyard.record.rundir import Attempt

ENERGY = "system/energy_joules"
"""Joules since the attempt began, of the GPUs of this node."""
TRAINED = "train/loss"
_BUFFER = 1 << 16
_PER_HOUR_MS = 3_600_000


@dataclass(kw_only=True, slots=True)
class AttemptLog:
    """What an attempt says besides its points.

    others: events that are no points, in order. machine: the first event of that name, None where there is none.
    last_ms: the latest time of any event, in milliseconds since 1970. trained: whether it has a training loss.
    energy_j: last value of `ENERGY`, None where it has none.
    """

    others: list[dict[str, Any]] = field(default_factory=list)
    machine: dict[str, Any] | None = None
    last_ms: int | None = None
    trained: bool = False
    energy_j: float | None = None

    @property
    def hours(self) -> float | None:
        """From the machine event to the one that says it was done, or to the last of all; None without a machine."""
        if self.machine is None or self.last_ms is None:
            return None
        done = (int(event["timestamp"]) for event in self.others if event["event"] == "machine_done")
        return (next(done, self.last_ms) - int(self.machine["timestamp"])) / _PER_HOUR_MS


def read_attempt(path: Path, finals: Finals) -> AttemptLog:
    """Fold a spool file into `finals`, also while it is being written."""
    log = AttemptLog()
    last_ms, energy_j = 0, None
    # The loop over all lines of all runs: a call or a search that is left out of it counts a million times.
    with open(path, "rb", buffering=_BUFFER) as handle:
        for line in handle:
            try:
                event = from_json(line)
                kind = event["event"]
            except (ValueError, TypeError, KeyError):
                continue
            if kind == "metrics":
                if not line.endswith(b"\n"):
                    continue
                values = event["values"]
                finals.add(event["step"], values)
                if event["timestamp"] > last_ms:
                    last_ms = event["timestamp"]
                if ENERGY in values:
                    energy_j = values[ENERGY]
                if not log.trained and TRAINED in values:
                    log.trained = True
            elif line.endswith(b"\n"):
                last_ms = max(last_ms, event.get("timestamp", 0))
                if kind == "nonfinite":
                    finals.lose(event["step"], event["values"])
                else:
                    log.others.append(event)
    log.last_ms, log.energy_j = last_ms or None, energy_j
    log.machine = next((event for event in log.others if event["event"] == "machine"), None)
    return log


def begun_attempts(run_directory: Path) -> list[Attempt]:
    """Attempts as attempts.jsonl lists them, as `RunDirectory.attempts` does for a run that was opened whole."""
    path = run_directory / "attempts.jsonl"
    found = []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            found.append(Attempt(**from_json(line)))
        except ValueError:
            # Torn by a kill: nothing had begun yet.
            continue
    return found
