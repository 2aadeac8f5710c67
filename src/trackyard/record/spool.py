"""The spool: what a run says about itself, appended to a file that no tracking server can slow down or lose.

One JSON Lines file per attempt, spool/attempt-0001.jsonl, written by rank 0 only. `record.tracking` delivers it.
A point keeps the time at which it was spooled for ever: delivering it twice is then delivering it once (hpc section 9).
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from trackyard.errors import EnvironmentLacking, TrackyardError
from trackyard.record.rundir import Attempt
from trackyard.redact import Redactor

FLUSH_LINES = 20
"""Lines kept in memory before they are appended on their own."""

MOST_PENDING = 64 << 20
"""Bytes kept in memory while a disk refuses them; past this the run stops rather than lose points."""

Status = Literal["running", "finished", "failed", "stopped"]

_log = logging.getLogger(__name__)


class Spool:
    """Append-only record of one attempt. Not for several threads or processes.

    Call `flush` before a checkpoint is marked complete: whatever a kill then takes from memory belongs to steps that
    the next attempt runs again. Raises TrackyardError if the attempt has a spool already.
    """

    def __init__(self, directory: Path, attempt: Attempt) -> None:
        self.path = directory / f"attempt-{attempt.number:04d}.jsonl"
        self._redactor = Redactor()
        self._keys: dict[str, str] = {}
        self._pending = bytearray()
        self._lines = 0
        self._refused = False
        try:
            if not directory.is_dir():
                directory.mkdir(parents=True)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._handle = os.open(self.path, flags, 0o644)
        except OSError as error:
            if self.path.exists():
                raise TrackyardError(
                    what=f"{self.path} exists already",
                    why="two processes writing one spool would tear each other's lines",
                    fix="take the run lock and a new attempt before opening the spool",
                ) from error
            raise EnvironmentLacking(
                what=f"the spool {self.path} cannot be made: {error.strerror}",
                why="without it every metric of the run would be lost",
                fix=f"make {directory} writable, or link runs/ to another disk",
            ) from error

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Record numbers of one step. A value that is not finite becomes an event of its own, never a gap."""
        step = int(step)
        plain: dict[str, float] = {}
        odd: dict[str, str] = {}
        for name, value in values.items():
            key = self._keys.get(name) or self._key(name)
            number = float(value)
            if math.isfinite(number):
                plain[key] = number
            else:
                odd[key] = str(number)
        if plain:
            self._append({"event": "metrics", "step": step, "timestamp": _now_ms(), "values": plain})
        if odd:
            self._append({"event": "nonfinite", "step": step, "timestamp": _now_ms(), "values": odd})

    def tag(self, key: str, value: str) -> None:
        """Record a label; of two with one key the later counts."""
        self._append_text({"event": "tag", "values": {key: value}})

    def dataset(self, name: str, digest: str, source: str, context: str) -> None:
        """Record a data set that this run read. context: what for, "training" or "evaluation"."""
        self._append_text({"event": "dataset", "name": name, "digest": digest, "source": source, "context": context})

    def artifact(self, path: str) -> None:
        """Record a small result file, relative to the run directory, that is worth showing beside the curves."""
        self._append_text({"event": "artifact", "path": path})

    def machine(self, world: int, device: str, host: str) -> None:
        """Record what this attempt trains on, when it begins to. world: ranks; device: as its driver names it."""
        self._append_text({"event": "machine", "world": world, "device": device, "host": host, "timestamp": _now_ms()})
        self.flush()

    def machine_done(self) -> None:
        """Record that this attempt took the last step of its training: what follows is not the machine's."""
        self._append_text({"event": "machine_done", "timestamp": _now_ms()})
        self.flush()

    def model(self, name: str, path: str) -> None:
        """Record an export that is worth registering as `name`. path: from the root of the repository."""
        self._append_text({"event": "model", "name": name, "path": path})

    def status(self, state: Status) -> None:
        """Record how the attempt stands, and make it durable: "stopped" is exit 75, to be continued."""
        self._append_text({"event": "status", "state": state, "timestamp": _now_ms()})
        self.flush()

    def flush(self) -> None:
        """Put everything so far on disk. TrackyardError if the disk refuses it; nothing is lost, call again later."""
        try:
            self._drain()
            os.fsync(self._handle)
        except OSError as error:
            raise self._refusal(error) from error

    def close(self) -> None:
        """Flush and end."""
        try:
            self.flush()
        finally:
            os.close(self._handle)

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _key(self, name: str) -> str:
        return self._keys.setdefault(name, self._redactor.text(name))

    def _append_text(self, event: dict[str, Any]) -> None:
        self._append(self._redactor.value(event))

    def _append(self, event: dict[str, Any]) -> None:
        line = json.dumps(event, ensure_ascii=False, separators=(",", ":"), default=str)
        # Half a surrogate pair, as of a user's name in another encoding, is no text, and no reason to end a training.
        self._pending += line.encode(errors="replace")
        self._pending += b"\n"
        self._lines += 1
        if self._lines >= FLUSH_LINES:
            self._lines = 0
            self._drain_or_wait()

    def _drain(self) -> None:
        # A write may be cut short by a full disk: the rest follows exactly where it ended, so no line is torn.
        while self._pending:
            written = os.write(self._handle, self._pending)
            del self._pending[:written]
        self._refused = False

    def _drain_or_wait(self) -> None:
        """Append what is pending; a disk that refuses gives an alarm and another try, and in the end stops the run."""
        try:
            self._drain()
        except OSError as error:
            if len(self._pending) > MOST_PENDING:
                raise self._refusal(error) from error
            if not self._refused:
                _log.warning("%s: %s; metrics stay in memory until it can be written", self.path, error.strerror)
            self._refused = True

    def _refusal(self, error: OSError) -> TrackyardError:
        return TrackyardError(
            what=f"{self.path}: {error.strerror} ({len(self._pending)} bytes not written)",
            why="metrics of this run would be lost",
            fix=f"free space on the file system of {self.path.parent} and run the same command again",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class SpoolPart:
    """What `read_spool` found: (end of line as a byte offset, event) in file order.

    end: offset after the last complete line. torn: 1 if bytes without an end of line follow (a kill, or a write in
    progress). damaged: complete lines that are no JSON object (a page of zeros after a power cut).
    """

    events: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    end: int
    torn: int
    damaged: int


def read_spool(path: Path, start: int = 0) -> SpoolPart:
    """Read a spool file, also while it is being written. start: the end of a part that was read before."""
    with path.open("rb") as file:
        file.seek(start)
        data = file.read()
    complete = data.rfind(b"\n") + 1
    events = []
    damaged = 0
    offset = start
    for line in data[:complete].split(b"\n")[:-1]:
        offset += len(line) + 1
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if isinstance(event, dict) and "event" in event:
            events.append((offset, event))
        else:
            damaged += 1
    return SpoolPart(events=events, end=start + complete, torn=int(complete < len(data)), damaged=damaged)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
