"""Checkpoints on disk: a directory that is complete or invisible, and whose every byte is proved before it is used.

`step-00000123/` holds files of tensors, `manifest.json` with the blake3 of each, and `COMPLETE`, which holds the blake3
of the manifest and is written last. Source: design section 4, reliability sections 1 and 4.1.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from trackyard.crash import crash_point
from trackyard.digest import digest_file
from trackyard.durable import TEMPORARY, fsync_directory, sweep, write_atomic
from trackyard.errors import CheckpointError, DataError
from trackyard.schema import read_document, write_document
from trackyard.train.tensor_file import damaged

SCHEMA = "trackyard-checkpoint/2"
PICKLED = "trackyard-checkpoint/1"
"""Checkpoints of earlier versions: DeepSpeed's pickled files."""
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
class StoredFile:
    """One file of a checkpoint. fragments: parameter -> first element, elements, number of its step count."""

    path: str
    bytes: int
    blake3: str
    fragments: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)

    @classmethod
    def parse(cls, entry: Mapping[str, Any]) -> Self:
        """From a JSON document."""
        fragments = {name: (found[0], found[1], found[2]) for name, found in entry["fragments"].items()}
        return cls(path=entry["path"], bytes=entry["bytes"], blake3=entry["blake3"], fragments=fragments)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a checkpoint holds. tensors: shape of every trained parameter, by name."""

    step: int
    identity: Mapping[str, str]
    """Facts that must hold again at load: run, plan, and whatever else identifies what is not stored."""
    score: float | None
    """How good the weights are, lower is better; None where they were not scored."""
    host_state: Any
    """JSON, with places for tensors (trackyard.train.host_state)."""
    tensors: Mapping[str, tuple[int, ...]]
    files: tuple[StoredFile, ...]


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


def remove_unfinished(root: Path) -> None:
    """What kills left: partial directories, and step directories that have no marker yet or no longer."""
    sweep(root)
    for path in root.iterdir():
        if step_of(path) is not None and not path.is_symlink() and not (path / COMPLETE).is_file():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def partial_directory(root: Path, step: int, token: str) -> Path:
    """Where a checkpoint grows. token: distinguishes it from what an earlier attempt left."""
    return root / f"{TEMPORARY}{directory_name(step)}.{token}"


def seal(partial: Path, final: Path, manifest: Manifest) -> None:
    """Turn a directory of fsynced files into a checkpoint: manifest, rename, marker.

    A checkpoint of that step that is there already was passed over by the resume because it is damaged, and is
    replaced. Raises OSError.
    """
    if not manifest.files:
        raise OSError("no rank wrote a file")
    crash_point("before-manifest")
    write_document(partial / MANIFEST, SCHEMA, asdict(manifest))
    delete_checkpoint(final)
    os.replace(partial, final)
    fsync_directory(final.parent)
    crash_point("between-rename-and-complete")
    write_atomic(final / COMPLETE, digest_file(final / MANIFEST))


def read_manifest(path: Path, identity: Mapping[str, str]) -> Manifest:
    """The proved manifest of a complete checkpoint, whose list of files is that of the directory.

    Raises CheckpointError or DataError: not there, not complete, damaged, of another run, or with other files.
    """
    fix = removal(path)
    if not (path / COMPLETE).is_file() or path.is_symlink():
        raise CheckpointError(
            what=f"{path} is not a complete checkpoint" if path.exists() else f"there is no checkpoint {path}",
            why="only what carries COMPLETE was written to its end, and nothing else is a state to go on from",
            fix=f"name one of those in {path.parent} that hold {COMPLETE}, or none: the newest sound one is taken then",
        )
    require_digest(path / MANIFEST, (path / COMPLETE).read_text(errors="replace"), fix)
    body = _document(path, fix)
    if body["identity"] != dict(identity) or body["step"] != step_of(path):
        raise CheckpointError(
            what=f"{path} is step {body['step']} of {body['identity']}, this run is {dict(identity)}",
            why="resuming it would continue another experiment",
            fix="resume with the parameters, plan and code it was written under",
        )
    manifest = Manifest(
        step=body["step"],
        identity=body["identity"],
        score=body["score"],
        host_state=body["host_state"],
        tensors={name: tuple(shape) for name, shape in body["tensors"].items()},
        files=tuple(StoredFile.parse(entry) for entry in body["files"]),
    )
    _require_listing(path, manifest.files, fix)
    return manifest


def removal(path: Path) -> str:
    """What to do about a damaged checkpoint."""
    return f"remove {path}; the same command then resumes from the checkpoint before it"


def _document(path: Path, fix: str) -> dict[str, Any]:
    try:
        return read_document(path / MANIFEST, SCHEMA, fix=fix)
    except DataError as error:
        if repr(PICKLED) not in error.what:
            raise
        raise CheckpointError(
            what=f"{path} is a {PICKLED}, and this version reads {SCHEMA}",
            why="the older form is pickled by DeepSpeed: loading it could execute what is in it, so it is not loaded",
            fix=f"move {path} away and train this stage again, or finish it with the version that began it",
        ) from error


def _require_listing(path: Path, files: Sequence[StoredFile], fix: str) -> None:
    listed = {file.path: file for file in files}
    found = {str(file.relative_to(path)) for file in _files(path)}
    for name in sorted(set(listed) - found):
        raise damaged(path / name, listed[name].blake3, "no such file", fix)
    if found - set(listed):
        raise CheckpointError(
            what=f"{path} holds files that its manifest does not list: {sorted(found - set(listed))}",
            why="they were not written with it and might be loaded with it",
            fix=fix,
        )


def _files(directory: Path) -> list[Path]:
    """Everything in a checkpoint directory that is not a directory, without its own manifest and marker."""
    own = {directory / MANIFEST, directory / COMPLETE}
    return sorted(path for path in directory.rglob("*") if path not in own and (path.is_symlink() or path.is_file()))


def verify_checkpoint(path: Path, identity: Mapping[str, str]) -> Manifest:
    """Re-hash a complete checkpoint. CheckpointError or DataError names the first wrong file, with both digests."""
    manifest = read_manifest(path, identity)
    for file in manifest.files:
        require_digest(path / file.path, file.blake3, removal(path))
    return manifest


def require_digest(file: Path, expected: str, fix: str) -> None:
    """CheckpointError with both digests unless the bytes of `file` are those expected; of a link, it never is."""
    try:
        found = digest_file(file) if file.is_file() and not file.is_symlink() else "no such file"
    except OSError as error:
        found = f"nothing readable: {error}"
    if found != expected:
        raise damaged(file, expected, found, fix)


def delete_checkpoint(path: Path) -> None:
    """Remove a checkpoint directory, if there is one; of a link only the link."""
    if path.is_symlink():
        path.unlink()
    elif path.exists():
        # Without its marker a directory is no checkpoint: a kill in the middle leaves nothing half valid.
        (path / COMPLETE).unlink(missing_ok=True)
        shutil.rmtree(path)
