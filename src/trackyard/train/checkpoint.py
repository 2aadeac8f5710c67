"""Checkpoints that are complete or invisible, and are checked before they are loaded.

A step directory is written under a temporary name, every file is fsynced and listed with its blake3 in `manifest.json`,
the directory is renamed, and `COMPLETE` is written last. Source: design section 4.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trackyard.digest import digest_file
from trackyard.durable import TEMPORARY, fsync_directory, fsync_file, sweep, write_atomic
from trackyard.errors import CheckpointError, DataError
from trackyard.schema import read_document, write_document

SCHEMA = "trackyard-checkpoint/1"
COMPLETE = "COMPLETE"
_NAME = re.compile(r"step-(\d{8})")


def directory_name(step: int) -> str:
    """`step-00000123`: the state after 123 updates."""
    return f"step-{step:08d}"


def step_of(path: Path) -> int | None:
    """Number of updates behind a checkpoint directory, None if the name is not one."""
    match = _NAME.fullmatch(path.name)
    return int(match.group(1)) if match else None


@dataclass(frozen=True, kw_only=True)
class Rejected:
    """A checkpoint that carries COMPLETE and yet is not what its manifest says."""

    path: Path
    problem: str


def complete_checkpoints(root: Path) -> list[Path]:
    """Complete checkpoints below `root`, oldest first. Links and half-written directories are not among them."""
    if not root.is_dir():
        return []
    found = [path for path in root.iterdir() if step_of(path) is not None and not path.is_symlink()]
    return sorted((path for path in found if (path / COMPLETE).is_file()), key=lambda path: path.name)


def write_checkpoint(
    root: Path,
    *,
    step: int,
    identity: dict[str, str],
    save: Callable[[Path], None],
    barrier: Callable[[], None],
    is_writer: bool,
) -> Path:
    """Write one checkpoint; every rank calls this, `save` writes the rank's files into the directory it is given.

    identity: facts that must hold again at load (run id, plan fingerprint). A checkpoint of that step that is already
    complete is kept. Raises CheckpointError (full disk, read-only) and leaves nothing behind under a final name.
    """
    final, partial = root / directory_name(step), root / f"{TEMPORARY}{directory_name(step)}"
    if (final / COMPLETE).is_file():
        return final
    try:
        if is_writer:
            root.mkdir(parents=True, exist_ok=True)
            sweep(root)
            if final.exists():
                shutil.rmtree(final)
            partial.mkdir()
        barrier()
        save(partial)
        barrier()
        if is_writer:
            _seal(partial, final, step, identity)
        barrier()
    except (OSError, RuntimeError) as error:
        # torch reports a full disk as RuntimeError from its zip writer.
        shutil.rmtree(partial, ignore_errors=True)
        raise CheckpointError(
            what=f"checkpoint {final} could not be written: {error}",
            why="the run cannot be continued from a state that is not on disk; earlier checkpoints are untouched",
            fix=f"free space or restore write access (`df -h {root}`), then run the same command again: it resumes",
        ) from error
    return final


def _seal(partial: Path, final: Path, step: int, identity: dict[str, str]) -> None:
    """Manifest, fsync, rename, marker."""
    files = sorted(path for path in partial.rglob("*") if path.is_file())
    if not files:
        raise OSError("no rank wrote a file")
    for path in files:
        fsync_file(path)
    listing = [
        {"path": str(path.relative_to(partial)), "bytes": path.stat().st_size, "blake3": digest_file(path)}
        for path in files
    ]
    write_document(partial / "manifest.json", SCHEMA, {"step": step, "identity": identity, "files": listing})
    for directory in {path.parent for path in files} | {partial}:
        fsync_directory(directory)
    os.replace(partial, final)
    fsync_directory(final.parent)
    write_atomic(final / COMPLETE, f"{step}\n")


def verify_checkpoint(path: Path, identity: dict[str, str]) -> None:
    """Re-hash a complete checkpoint. Raises CheckpointError naming the first wrong file with both digests."""
    fix = f"remove {path}; the same command then resumes from the checkpoint before it"
    manifest = read_document(path / "manifest.json", SCHEMA, fix=fix)
    if manifest["identity"] != identity:
        raise CheckpointError(
            what=f"{path} belongs to {manifest['identity']}, this run is {identity}",
            why="resuming it would continue another experiment",
            fix="resume with the parameters, plan and code it was written under",
        )
    if not manifest["files"]:
        raise CheckpointError(what=f"{path} lists no files", why="an empty state proves nothing", fix=fix)
    for entry in manifest["files"]:
        file = path / entry["path"]
        found = digest_file(file) if file.is_file() else "absent"
        if found != entry["blake3"]:
            raise CheckpointError(
                what=f"{file}: expected blake3 {entry['blake3']}, found {found}",
                why="a damaged state gives another model, silently",
                fix=fix,
            )


def newest_valid(root: Path, identity: dict[str, str]) -> tuple[Path | None, list[Rejected]]:
    """Newest checkpoint whose every byte is proved, and those newer ones that failed the proof."""
    rejected: list[Rejected] = []
    for path in reversed(complete_checkpoints(root)):
        try:
            verify_checkpoint(path, identity)
        except (CheckpointError, DataError) as error:
            rejected.append(Rejected(path=path, problem=error.what))
            continue
        return path, rejected
    return None, rejected


def rotate(root: Path, *, keep: int, never: Path | None = None) -> list[Path]:
    """Delete all but the newest `keep` complete checkpoints, sparing `never`; returns what was deleted."""
    deleted = []
    for path in complete_checkpoints(root)[:-keep]:
        if path == never:
            continue
        # Without its marker a directory is no checkpoint: a kill in the middle leaves nothing half valid.
        (path / COMPLETE).unlink()
        shutil.rmtree(path)
        deleted.append(path)
    return deleted
