"""A stop signal or Ctrl-C in a command that goes on where it was when it is run again: exit 75 and a clear sentence."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from trackyard.errors import StoppedEarly
from trackyard.launch.signals import stop_interrupt
from trackyard.redact import Redactor


@contextmanager
def resumable() -> Iterator[None]:
    """StoppedEarly instead of whatever SIGTERM, SIGUSR1 or Ctrl-C would do to the block.

    Only for work whose results are complete or absent at every moment, so that it can be cut anywhere.
    """
    with stop_interrupt() as stopped:
        try:
            yield
        except KeyboardInterrupt:
            raise StoppedEarly(
                what=f"stopped by {stopped.name or 'SIGINT'}",
                why="what is complete stays, and nothing half written lies under its final name",
                fix=f"run the same command again, it goes on from here: {_command()}",
            ) from None


def _command() -> str:
    return Redactor().text(shlex.join(["trackyard", *sys.argv[1:]]))
