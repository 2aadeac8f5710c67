"""Notes of each process that timed answers: on what machine, and which answers were not those that were scored.

A note is there before the first time that it is about. Source: nine-datasets spec section 7 (recorded).
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from torch import nn

from trackyard.errors import DataError
from trackyard.evaluate.latency.circumstances import Circumstances, circumstances
from trackyard.recipes.nine.results import PIPELINE
from trackyard.runner import SystemRunner
from trackyard.sealed import read_sealed, write_sealed

SCHEMA = "trackyard-machine-note/1"
PREFIX = "machine-"
FIX = f"move the folder away and time it again: dvc repro {PIPELINE}:latency"


@dataclass(kw_only=True, slots=True)
class Notes:
    """Of one process. different: questions whose answer was another one than in a batch."""

    path: Path
    circumstances: Circumstances
    different: list[str] = field(default_factory=list)

    @classmethod
    def begin(cls, folder: Path, model: nn.Module) -> Self:
        """Note the machine as it is now."""
        path = folder / f"{PREFIX}{secrets.token_hex(6)}.json"
        notes = cls(path=path, circumstances=circumstances(model, SystemRunner()))
        notes._write()
        return notes

    def differs(self, question: str) -> None:
        """An answer that is not the one that was scored."""
        self.different.append(question)
        self._write()

    def _write(self) -> None:
        body = {"circumstances": self.circumstances.to_json(), "different": self.different}
        write_sealed(self.path, SCHEMA, body)


def read_notes(folder: Path) -> list[Notes]:
    """Of every process that worked there. DataError where there is none, or one was altered."""
    found = []
    for path in sorted(folder.glob(f"{PREFIX}*.json")):
        body = read_sealed(path, SCHEMA, fix=FIX)
        machine = Circumstances.of(body["circumstances"])
        found.append(Notes(path=path, circumstances=machine, different=list(body["different"])))
    if not found:
        raise DataError(
            what=f"{folder} does not say on what machine its times were measured",
            why="times of unlike machines would stand side by side",
            fix=FIX,
        )
    return found
