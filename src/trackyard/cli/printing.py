"""What commands share when they print: one JSON form, one form of sizes, one form of errors."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from trackyard.errors import EXIT_DONE, EXIT_FAILED, EXIT_STOPPED_EARLY, TrackyardError
from trackyard.launch.preflight import Row

_MARKS = {"passed": "OK  ", "warned": "WARN", "failed": "FAIL", "skipped": "skip"}


def print_json(value: Any) -> None:
    """One JSON document on stdout; dataclasses, parameter groups and paths included."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=_plain))


def as_fields(value: Any) -> dict[str, Any]:
    """The fields of a dataclass by name, as they are: those of a document beside its schema."""
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return as_fields(value)
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", exclude_defaults=True)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def size(count: int | None) -> str:
    """Bytes in decimal units, as disks and quotas are sold: 38.47 GB."""
    if count is None:
        return "unknown"
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        # What two decimals would round up to the next unit is that unit.
        if count >= factor * 0.999995:
            return f"{count / factor:,.2f} {unit}"
    return f"{count} B"


def tell(error: TrackyardError) -> None:
    """An error's three parts on stderr."""
    label = "stopped" if error.exit_code == EXIT_STOPPED_EARLY else "error"
    sys.stderr.write(f"{label}: {type(error).__name__}\n{error}\n")


class Failures:
    """What failed in a command that does several things, each told at once: none keeps the others from being done."""

    def __init__(self) -> None:
        self._found: list[tuple[dict[str, str], TrackyardError]] = []

    def __len__(self) -> int:
        return len(self._found)

    def add(self, error: TrackyardError, **where: str) -> None:
        """where: what it happened to, as it stands in the document."""
        self._found.append((where, error))
        tell(error)

    def document(self) -> list[dict[str, Any]]:
        return [
            {**where, "error": type(error).__name__, "what": error.what, "why": error.why, "fix": error.fix,
             "exit_code": error.exit_code}
            for where, error in self._found
        ]  # fmt: skip

    @property
    def exit_code(self) -> int:
        """That of the stop if there was one, else the one that all failures share, else 1."""
        codes = {error.exit_code for _, error in self._found}
        if EXIT_STOPPED_EARLY in codes:
            return EXIT_STOPPED_EARLY
        return codes.pop() if len(codes) == 1 else EXIT_FAILED if codes else EXIT_DONE


def print_check(row: Row) -> None:
    """The outcome of one check of a preflight, and what mends it."""
    print(f"{_MARKS[row.state]} {row.name:18} {row.detail}", flush=True)
    if row.fix:
        print(f"     {'fix:':18} {row.fix}", flush=True)
