"""Writes that are complete or absent: temporary sibling, fsync, rename, fsync of the directory."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trackyard.errors import ConfigError
from trackyard.redact import held_by

TEMPORARY = ".partial-"
"""Prefix of everything not yet complete; readers ignore it, `sweep` removes it."""


def fsync_directory(path: Path) -> None:
    """Make a rename inside `path` durable."""
    with _durable_names(path):
        pass


@contextmanager
def _durable_names(directory: Path) -> Iterator[None]:
    """Make the renames of the block durable, wherever `directory` lies by its end; after an error nothing is done."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        yield
        os.fsync(handle)
    finally:
        os.close(handle)


def fsync_file(path: Path) -> None:
    """Flush one file's bytes to the device."""
    with open(path, "rb") as handle:
        os.fsync(handle.fileno())


def write_atomic(path: Path, data: bytes | str) -> None:
    """Replace `path` by `data` so that a reader sees the old content or the new one, never a part.

    Raises OSError (full disk, read-only directory), and ConfigError for data that hold the value of a secret-named
    environment variable; the partial file is removed then.
    """
    data = data.encode() if isinstance(data, str) else data
    secret = held_by(data)
    if secret is not None:
        raise ConfigError(
            what=f"{path} would hold the value of the environment variable {secret}",
            why="secrets are written to no file: files are versioned, published and read by others",
            fix=f"find where {secret} enters (a parameter, an address, a title) and name the variable there instead; "
            "if its value is an ordinary word, choose another one",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{TEMPORARY}{path.name}.{os.getpid()}.{threading.get_ident()}")
    # Who waits for this name may move the whole directory as soon as it is there, as rank 0 does with a checkpoint.
    with _durable_names(path.parent):
        try:
            with open(partial, "wb") as handle:
                handle.write(data)
                handle.flush()
                os.fsync(handle.fileno())
            os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield a fresh sibling directory that becomes `path` when the block ends without an error.

    Every file is fsynced before the rename. `path` must not exist: complete things are immutable. FileExistsError, also
    where another process has put it there meanwhile. On an error the partial directory is removed.
    """
    if path.exists():
        raise FileExistsError(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{TEMPORARY}{path.name}.{os.getpid()}.{threading.get_ident()}")
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir()
    try:
        yield partial
        for directory, _, names in os.walk(partial):
            for name in names:
                fsync_file(Path(directory) / name)
            fsync_directory(Path(directory))
        _put_in_place(partial, path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    fsync_directory(path.parent)


def _put_in_place(partial: Path, path: Path) -> None:
    try:
        os.replace(partial, path)
    except OSError as error:
        if error.errno == errno.ENOTEMPTY:
            raise FileExistsError(error.errno, "complete already", str(path)) from error
        raise


def sweep(directory: Path, name: str = "") -> list[Path]:
    """Remove what killed processes left unfinished directly below `directory`; returns what was removed.

    name: only of what was to be called so; "" for anything. The caller holds the lock of whatever writes there: a
    living writer's partial files look the same.
    """
    own = f"{TEMPORARY}{name}"
    left = sorted(path for path in directory.glob(f"{TEMPORARY}*") if not name or f"{path.name}.".startswith(f"{own}."))
    for path in left:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return left
