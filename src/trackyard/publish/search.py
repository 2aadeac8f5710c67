"""What must not be published, searched for in every byte of a file: secrets, addresses of people, paths of a machine.

Source: theworld spec section 11, reliability F24.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from trackyard.redact import SHORTEST, Redactor

BLOCK = 32 << 20
"""Bytes of a file that are searched at a time."""
OVERLAP = 64 << 10
"""Bytes that two blocks share: longer than anything that is searched for."""
_PRINTABLE = re.compile(rb"[\x20-\x7e]{%d,}" % SHORTEST)
_EMAIL = re.compile(r"\b[\w.+-]{2,}@[A-Za-z0-9-]{2,}(?:\.[A-Za-z0-9-]{2,})+\b")
_HOME = re.compile(r"(?:^|[\s\"'=:(`])(/(?:home|Users)/[^/\s\"']+|/root)/")
_SYSTEM = ("/usr", "/etc", "/bin", "/lib", "/proc", "/dev", "/sys")
"""Folders of every machine: naming them says nothing of this one."""


def secret_in(data: bytes, redactor: Redactor, machine: Collection[str] = ()) -> str | None:
    """What must not be published, in words without its value; None if nothing of the kind is there.

    All printable text of at least SHORTEST characters is searched, in binary files too. machine: absolute paths of this
    machine, from `machine_paths`; they are searched for in all bytes.
    """
    text = "\n".join(run.decode("ascii") for run in _PRINTABLE.findall(data))
    if redactor.text(text) != text:
        return "a secret"
    if _EMAIL.search(text):
        return "an e-mail address"
    if _HOME.search(text):
        return "a path of a home folder"
    return "an absolute path of this machine" if machine and _any_of(machine).search(data) else None


def blocks_of(path: Path) -> Iterator[tuple[bytes, int]]:
    """(block to search, how many of its bytes were in the block before): a file of any size in little memory."""
    with open(path, "rb") as handle:
        kept = b""
        while block := handle.read(BLOCK):
            yield kept + block, len(kept)
            kept = block[-OVERLAP:]


def machine_paths(root: Path, environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Absolute paths that only this machine has: the repository, where its folders really lie, and every folder that an
    environment variable names. A path of one component says nothing, and would be found in ordinary text.
    """
    environment = os.environ if environment is None else environment
    found = {root.absolute(), root.resolve()}
    found |= {path.resolve() for name in ("data", "artifacts", "runs") if (path := root / name).is_symlink()}
    for value in environment.values():
        found |= {path for part in value.split(os.pathsep) if (path := Path(part)).is_absolute() and path.is_dir()}
    return tuple(sorted({os.path.normpath(path) for path in found if _tells(path)}))


def _tells(path: Path) -> bool:
    return len(path.parts) > 2 and not str(path).startswith(tuple(f"{folder}/" for folder in _SYSTEM))


def _any_of(machine: Collection[str]) -> re.Pattern[bytes]:
    """These paths, as UTF-8 and as JSON writes them, whole components only."""
    forms = {form.encode() for path in machine for form in (path, json.dumps(path)[1:-1])}
    return re.compile(rb"(?<![\w.])(?:" + b"|".join(map(re.escape, sorted(forms))) + rb")(?![\w-])")
