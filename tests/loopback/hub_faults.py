"""What a loopback hub does wrong, on purpose and by plan."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

Wrong = Literal["status", "hang", "stall", "truncate", "reset", "corrupt", "redirect", "loop", "html"]

BODY: tuple[Wrong, ...] = ("stall", "truncate", "reset", "corrupt")
"""Faults of a body; the others are faults of an answer."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One way to fail.

    kind: status (answer `status`, with Retry-After if given), hang (no answer for `seconds`), stall (half of the body,
    then silence for `seconds`), truncate (half of the body, then an orderly close), reset (the same with RST), corrupt
    (one bit of the body is wrong), redirect (one more hop on this host), loop (redirects to itself), html (200 and a
    page of HTML). times: how often, None for ever. methods: of which requests.
    """

    kind: Wrong
    times: int | None = 1
    status: int = 503
    retry_after: str | None = None
    seconds: float = 30.0
    methods: tuple[str, ...] = ("GET",)


class Faults:
    """Plans by resource. The first that matches and is not used up happens."""

    def __init__(self) -> None:
        self._plans: list[tuple[str, Fault]] = []
        self._used: dict[int, int] = {}
        self._lock = threading.Lock()

    def plan(self, resource: str, *faults: Fault) -> None:
        """resource: a pattern of `Request.resource`, for example "owner/name/*.parquet" or "tree owner/name"."""
        with self._lock:
            self._plans += [(resource, fault) for fault in faults]

    def clear(self) -> None:
        with self._lock:
            self._plans.clear()
            self._used.clear()

    def take(self, resource: str, method: str, *, body: bool) -> Fault | None:
        """The fault of this request, which counts as used then. body: whether a body is about to be sent."""
        with self._lock:
            for number, (pattern, fault) in enumerate(self._plans):
                used = self._used.get(number, 0)
                if (
                    fnmatchcase(resource, pattern)
                    and method in fault.methods
                    and (fault.kind in BODY) == body
                    and (fault.times is None or used < fault.times)
                ):
                    self._used[number] = used + 1
                    return fault
        return None
