"""One image in containers/image.lock.json: looked up by its name, and replaced. The form is `record.image_lock`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from trackyard.errors import EnvironmentLacking
from trackyard.exclusive import exclusive
from trackyard.record.image_lock import CONTAINERS, IMAGE_LOCK, Base, ImageLock, Locked, read_lock, write_lock

__all__ = [
    "CONTAINERS", "IMAGE_LOCK", "Base", "ImageLock", "Locked", "locked_image", "locking", "read_lock", "relock",
    "write_lock",
]  # fmt: skip


def locked_image(root: Path, name: str) -> Locked:
    """The entry of `name`; EnvironmentLacking where there is none yet."""
    images = read_lock(root).images
    if name not in images:
        there = ", ".join(sorted(images)) or "none"
        raise EnvironmentLacking(
            what=f"{IMAGE_LOCK} has no image {name!r}",
            why=f"it has {there}; an image that is not locked could be any bytes",
            fix=f"trackyard image build {name}; a file from elsewhere: trackyard image lock {name} --from FILE.sif",
        )
    return images[name]


def locking(root: Path) -> AbstractContextManager[None]:
    """Held by whoever makes an image and writes the lock; TrackyardError naming another process that does."""
    return exclusive(
        root / "runs" / ".image.lock", what=f"{IMAGE_LOCK} of {root}", why="two would overwrite each other's images"
    )


def relock(root: Path, name: str, locked: Locked) -> None:
    """Put `locked` in place of what the lock says of `name`. The caller holds `locking`."""
    write_lock(root, ImageLock(images=read_lock(root).images | {name: locked}))
