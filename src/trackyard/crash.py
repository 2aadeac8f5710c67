"""Named places where a process can be made to die, so that tests prove what a death there leaves behind.

`TRACKYARD_CRASH_AT=<name>` arms the place of that name; it does nothing otherwise. Source: reliability section 5.2.
"""

from __future__ import annotations

import os
import signal

ARMED = "TRACKYARD_CRASH_AT"
"""Environment variable that holds the name of the one armed place."""


def crash_point(name: str) -> None:
    """End this process by SIGKILL if the place `name` is armed: no handler runs, nothing is flushed."""
    if os.environ.get(ARMED) == name:
        os.kill(os.getpid(), signal.SIGKILL)
