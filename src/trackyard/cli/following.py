"""The follower: a child of a command that delivers what runs spool while the command goes on, and ends with it.

python -m trackyard.cli.following SECONDS        (in the root of a repository; its standard input ends it)
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from trackyard.errors import ConfigError
from trackyard.launch.launched import alone, launched
from trackyard.runner import beside, companion

EVERY_VARIABLE = "TRACKYARD_SYNC_SECONDS"
"""Seconds between two deliveries during a training; 0 for none before its end."""

EVERY_S = 30.0
SHOWN_EVERY_S = 10.0
"""Beside the pages of MLflow, where somebody looks."""

NICE = 19


def following(root: Path) -> AbstractContextManager[None]:
    """Deliver during the block where a tracking server was named, or EVERY_VARIABLE asks for it; else nothing.

    ConfigError where that is no number.
    """
    from trackyard.record.tracking.server import URI_VARIABLE, database, tracking_uri

    text = os.environ.get(EVERY_VARIABLE)
    asked = URI_VARIABLE in os.environ and database(tracking_uri(root)) is None
    every_s = seconds(text) if text else (EVERY_S if asked else 0.0)
    found = launched(os.environ)
    # Of the ranks of a launcher one delivers.
    if not every_s or (found is not None and found.rank > 0):
        return nullcontext()
    return beside(_argv(every_s), _environment(), nice=NICE)


def seconds(text: str) -> float:
    """The number of seconds in EVERY_VARIABLE."""
    try:
        every_s = float(text)
    except ValueError:
        every_s = -1.0
    if not 0 <= every_s <= 86_400:
        raise ConfigError(
            what=f"{EVERY_VARIABLE}={text!r}",
            why="it is the number of seconds between two deliveries to MLflow, and 0 turns them off",
            fix=f"export {EVERY_VARIABLE}=30, or unset it",
        )
    return every_s


def follow_this_process() -> None:
    """Deliver for as long as this process lives, or the program that it becomes by exec."""
    text = os.environ.get(EVERY_VARIABLE)
    every_s = seconds(text) if text else SHOWN_EVERY_S
    if every_s:
        companion(_argv(every_s), _environment(), nice=NICE)


def _argv(every_s: float) -> list[str]:
    return [sys.executable, "-m", "trackyard.cli.following", f"{every_s:g}"]


def _environment() -> dict[str, str]:
    """No rank of anything, and one thread: the cores belong to the training."""
    return {**alone(os.environ), "OMP_NUM_THREADS": "1"}


def follow_until_stopped(root: Path, every_s: float, *, whole_first: bool, delivered: Callable[[int], None]) -> None:
    """Deliver until a stop signal or Ctrl-C, which is an end in order. delivered: told of the points of each pass."""
    from trackyard.launch.signals import stop_interrupt
    from trackyard.record.tracking.follow import follow
    from trackyard.record.tracking.server import tracking_uri

    with stop_interrupt():
        try:
            follow(root / "runs", tracking_uri(root), every_s, whole_first=whole_first, say=_say, delivered=delivered)
        except KeyboardInterrupt:
            return


def _say(line: str) -> None:
    sys.stderr.write(f"record    {line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    from trackyard.launch.processes import end_with_parent

    end_with_parent()
    # The training speaks here; of the delivery only what is wrong is worth a line among its own.
    follow_until_stopped(Path.cwd(), float(sys.argv[1]), whole_first=False, delivered=lambda _points: None)
