"""Checks before work begins: a row each that passed, warns, failed or was skipped for a stated reason; none is lost.

Source: pile-ffn spec section 12.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from trackyard.errors import EXIT_ENVIRONMENT, EXIT_FAILED, TrackyardError

SCHEMA = "trackyard-preflight/1"
State = Literal["passed", "warned", "failed", "skipped"]


class Skipped(Exception):
    """Raised by a check that does not apply; the message says why."""


class Warned(TrackyardError):
    """Raised by a check for what stops nothing and should be mended; its three parts are those of an error."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What a check found. examined: how many things it looked at; none is a failure. fetched: bytes it downloaded."""

    detail: str
    examined: int
    fetched: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One check. run: returns what it saw, or raises Skipped, Warned or another TrackyardError."""

    name: str
    run: Callable[[], Seen]


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """The outcome of one check. why, fix: of a failure or a warning. exit_code: of the error that failed it, else 0."""

    name: str
    state: State
    detail: str
    examined: int
    fetched: int
    seconds: float
    why: str = ""
    fix: str = ""
    exit_code: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """Rows in the order of the checks. ok: every check ran or does not apply, none failed, and one at least passed."""

    rows: tuple[Row, ...]

    def count(self, state: State) -> int:
        return sum(row.state == state for row in self.rows)

    @property
    def ok(self) -> bool:
        return self.count("failed") == 0 and self.count("passed") > 0

    @property
    def fetched(self) -> int:
        return sum(row.fetched for row in self.rows)


def run_checks(checks: Iterable[Check], *, progress: Callable[[Row], None] | None = None, at_once: int = 1) -> Report:
    """Run every check, also after one has failed, so that one reading names everything that is wrong.

    at_once: how many run side by side; their rows come in the order of the checks all the same.
    """
    rows = []
    with ThreadPoolExecutor(max_workers=at_once) as workers:
        for row in workers.map(_row, checks) if at_once > 1 else map(_row, checks):
            rows.append(row)
            if progress is not None:
                progress(row)
    return Report(rows=tuple(rows))


def _row(check: Check) -> Row:
    started = time.monotonic()
    try:
        seen = check.run()
    except Skipped as reason:
        return _ended(check, "skipped", str(reason), started)
    except Warned as warning:
        return _ended(check, "warned", warning.what, started, why=warning.why, fix=warning.fix)
    except TrackyardError as error:
        return _ended(check, "failed", error.what, started, why=error.why, fix=error.fix, exit_code=error.exit_code)
    except OSError as error:
        return _ended(
            check,
            "failed",
            str(error),
            started,
            why="it could not be looked at",
            fix="make it readable, then the same command",
            exit_code=EXIT_ENVIRONMENT,
        )
    if seen.examined == 0:
        return _ended(
            check,
            "failed",
            f"nothing was examined: {seen.detail}",
            started,
            why="a check that looked at nothing proves nothing",
            fix="correct what the check is told to look at",
            exit_code=EXIT_FAILED,
        )
    return _ended(check, "passed", seen.detail, started, examined=seen.examined, fetched=seen.fetched)


def _ended(
    check: Check, state: State, detail: str, started: float,
    *, examined: int = 0, fetched: int = 0, why: str = "", fix: str = "", exit_code: int = 0,
) -> Row:  # fmt: skip
    return Row(
        name=check.name,
        state=state,
        detail=detail,
        examined=examined,
        fetched=fetched,
        seconds=round(time.monotonic() - started, 3),
        why=why,
        fix=fix,
        exit_code=exit_code,
    )
