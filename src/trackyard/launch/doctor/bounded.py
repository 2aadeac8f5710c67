"""A call with an end: name servers and hung file systems take no time limit of ours."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from trackyard.errors import EnvironmentLacking

T = TypeVar("T")


def within(seconds: float, call: Callable[[], T], *, what: str, why: str, fix: str) -> T:
    """What `call` returns or raises; EnvironmentLacking if it has not ended in time. It is left behind then.

    what: the thing that was asked, as the subject of "does not answer".
    """
    values: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            values.append(call())
        except BaseException as error:  # noqa: BLE001 - raised again below, in the thread that asked
            errors.append(error)

    # A worker of a pool would be waited for when the program ends.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not values:
        raise EnvironmentLacking(what=f"{what} does not answer within {seconds:g} s", why=why, fix=fix)
    return values[0]
