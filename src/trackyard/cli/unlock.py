"""`trackyard unlock`: who holds the locks of DVC, and their removal where nobody does."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from trackyard.cli.root import repository_root


def unlock(
    remove: Annotated[bool, typer.Option("--remove", help="remove them, if no process here holds one")] = False,
) -> None:
    """Show the lock files of DVC and who holds them; exit 1 while one stands in the way.

    Those of trackyard itself need none of this: they end with their owner, or soon after.
    """
    root = repository_root()
    from trackyard.launch.doctor.dvc_settings import dvc_settings
    from trackyard.launch.unlocking import leftovers, remove_all

    found = leftovers(root)
    for one in found:
        print(f"{one.path.relative_to(root)}: {one.owner}")
    if not dvc_settings(root)["core"].get("hardlink_lock", False):
        print("DVC locks by flock here, which ends with its owner: there is nothing to remove")
    elif not found:
        print("DVC holds no lock here")
    elif remove:
        print("\n".join(f"removed {path.relative_to(root)}" for path in remove_all(root)))
    else:
        print("to remove: trackyard unlock --remove, once no dvc command runs on another host either (squeue --me)")
        sys.exit(1)
