"""The proof of what was fetched for an entry: every part compared with its record, and what is not there is wrong."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from trackyard.acquire.fetching import IMAGES, Step, Watch, steps_of
from trackyard.acquire.files.tree import verify_files
from trackyard.acquire.hub.fetch import verify_repository
from trackyard.acquire.images.lookup import verify_images
from trackyard.acquire.places import Places
from trackyard.catalog.entries import Entry
from trackyard.errors import DataError


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is wrong, and what mends exactly that."""

    what: str
    repair: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """What was compared with its record. examined: files; problems: everything that is wrong."""

    entry: str
    what: str
    examined: int
    bytes: int
    problems: tuple[Damage, ...]

    @property
    def ok(self) -> bool:
        return self.examined > 0 and not self.problems


def prove(entry: Entry, places: Places, *, full: bool, watch: Watch | None = None) -> tuple[Proof, ...]:
    """Every part of an entry, whether it is there or not. full: read every byte, else what looks changed."""
    return tuple(_proof(entry, step, places, full, watch) for step in steps_of(entry, places))


def _proof(entry: Entry, step: Step, places: Places, full: bool, watch: Watch | None) -> Proof:
    raw = places.raw / entry.name
    again = f"trackyard data fetch {entry.name}"
    problems: list[Damage]
    try:
        if step.source is not None:
            copy = verify_repository(step.source, places.hub, full=full, progress=watch)
            examined, size = copy.examined, copy.bytes
            problems = [Damage(f"{path}: missing", again) for path in copy.missing]
            problems += [Damage(f"{path}: other bytes than the hub states", again) for path in copy.changed]
        elif step.kind == "nowhere":
            examined, size = 0, 0
            problems = [Damage(f"cannot be had: {step.detail}", "leave it out of the selection")]
        elif step.kind == "images":
            images = verify_images(raw / IMAGES)
            examined, size = images.files, images.bytes
            problems = [Damage(line, f"what the line names, and then: {again}") for line in images.problems]
        else:
            examined, size, problems = _raw(step, raw, full)
    except DataError as error:
        examined, size, problems = 0, 0, [Damage(error.what, _bring(step))]
    if not examined and not problems:
        problems = [Damage("zero objects examined, and that proves nothing", _bring(step))]
    return Proof(entry=entry.name, what=step.what, examined=examined, bytes=size, problems=tuple(problems))


def _raw(step: Step, raw: Path, full: bool) -> tuple[int, int, list[Damage]]:
    """(files, bytes, problems) of an entry's raw folder."""
    found = verify_files(raw, mode="full" if full else "fast")
    # What an archive brought comes back with the archive only, which is not taken twice while its record stands.
    problems = [Damage(f"{raw / path}: absent", _anew(step)) for path in found.missing]
    problems += [Damage(f"{raw / change.path}: other bytes than its record", _anew(step)) for change in found.changed]
    problems += [
        Damage(f"{raw / path}: not in the record", f"rm {shlex.quote(str(raw / path))}") for path in found.extra
    ]
    if not problems and step.state != "complete":
        # The record of the folder may hold its fetched archives, and nothing of what a person must bring.
        problems = [Damage(step.detail, _bring(step))]
    return found.examined, found.bytes, problems


def _bring(step: Step) -> str:
    return f"trackyard data {'instructions' if step.kind == 'by hand' else 'fetch'} {step.entry}"


def _anew(step: Step) -> str:
    archive = " --archive PATH" if step.kind == "by hand" else ""
    return f"rm -r {shlex.quote(step.target)}, then: trackyard data fetch {step.entry}{archive}"
