"""Checkpoints that are complete or invisible, and are checked before they are loaded.

A step directory is written under a temporary name, every file is fsynced and listed with its blake3 in `manifest.json`,
the directory is renamed, and `COMPLETE`, which holds the blake3 of the manifest, is written last. Source: design
section 4.
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
MANIFEST = "manifest.json"
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

    identity: facts that must hold again at load (run id, plan fingerprint). A checkpoint that is there already of this
    or a later step was passed over by the resume because it is damaged: it is replaced or deleted, so that it does not
    push a good one out. Raises CheckpointError (full disk, read-only); earlier checkpoints stay, nothing is left of
    this one.
    """
    final, partial = root / directory_name(step), root / f"{TEMPORARY}{directory_name(step)}"
    try:
        if is_writer:
            root.mkdir(parents=True, exist_ok=True)
            _remove_unfinished(root)
            partial.mkdir()
        barrier()
        save(partial)
        barrier()
        if is_writer:
            _seal(partial, final, step, identity)
        barrier()
    except (OSError, RuntimeError) as error:
        # torch reports a full disk as RuntimeError from its zip writer.
        if is_writer:
            shutil.rmtree(partial, ignore_errors=True)
            if not (final / COMPLETE).is_file():
                shutil.rmtree(final, ignore_errors=True)
        raise CheckpointError(
            what=f"checkpoint {final} could not be written: {error}",
            why="the run cannot be continued from a state that is not on disk; earlier checkpoints are untouched",
            fix=f"free space or restore write access (`df -h {root}`), then run the same command again: it resumes",
        ) from error
    return final


def _remove_unfinished(root: Path) -> None:
    """What kills left: partial directories, and step directories that have no marker yet or no longer."""
    sweep(root)
    for path in root.iterdir():
        if step_of(path) is not None and not path.is_symlink() and not (path / COMPLETE).is_file():
            shutil.rmtree(path)


def _seal(partial: Path, final: Path, step: int, identity: dict[str, str]) -> None:
    """Manifest, fsync, rename, marker; then the end of what the resume passed over."""
    files = _files(partial)
    if not files:
        raise OSError("no rank wrote a file")
    for path in files:
        fsync_file(path)
    listing = [
        {"path": path.relative_to(partial).as_posix(), "bytes": path.stat().st_size, "blake3": digest_file(path)}
        for path in files
    ]
    write_document(partial / MANIFEST, SCHEMA, {"step": step, "identity": identity, "files": listing})
    for directory in {parent for path in files for parent in path.parents if parent.is_relative_to(partial)}:
        fsync_directory(directory)
    _delete(final)
    os.replace(partial, final)
    fsync_directory(final.parent)
    write_atomic(final / COMPLETE, digest_file(final / MANIFEST))
    for other in complete_checkpoints(final.parent):
        if other.name > final.name:
            _delete(other)


def _files(directory: Path) -> list[Path]:
    """Everything in a checkpoint directory that is not a directory, without its own manifest and marker."""
    own = {directory / MANIFEST, directory / COMPLETE}
    return sorted(path for path in directory.rglob("*") if path not in own and (path.is_symlink() or path.is_file()))


def verify_checkpoint(path: Path, identity: dict[str, str]) -> None:
    """Re-hash a complete checkpoint. CheckpointError or DataError names the first wrong file, with both digests."""
    fix = f"remove {path}; the same command then resumes from the checkpoint before it"
    _require_digest(path / MANIFEST, (path / COMPLETE).read_text(errors="replace"), fix)
    manifest = read_document(path / MANIFEST, SCHEMA, fix=fix)
    if manifest["identity"] != identity or manifest["step"] != step_of(path):
        raise CheckpointError(
            what=f"{path} is step {manifest['step']} of {manifest['identity']}, this run is {identity}",
            why="resuming it would continue another experiment",
            fix="resume with the parameters, plan and code it was written under",
        )
    for entry in manifest["files"]:
        _require_digest(path / entry["path"], entry["blake3"], fix)
    unlisted = {str(file.relative_to(path)) for file in _files(path)} - {entry["path"] for entry in manifest["files"]}
    if unlisted:
        raise CheckpointError(
            what=f"{path} holds files that its manifest does not list: {sorted(unlisted)}",
            why="they were not written with it and might be loaded with it",
            fix=fix,
        )


def _require_digest(file: Path, expected: str, fix: str) -> None:
    try:
        found = digest_file(file) if file.is_file() and not file.is_symlink() else "no such file"
    except OSError as error:
        found = f"nothing readable: {error}"
    if found != expected:
        raise CheckpointError(
            what=f"{file}: expected blake3 {expected}, found {found}",
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
        _delete(path)
        deleted.append(path)
    return deleted


def _delete(path: Path) -> None:
    """Remove a checkpoint directory, if there is one; of a link only the link."""
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        # Without its marker a directory is no checkpoint: a kill in the middle leaves nothing half valid.
        (path / COMPLETE).unlink(missing_ok=True)
        shutil.rmtree(path)
