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
# Patterns begin with a letter of their own and look back from there: gigabytes of weights are gone through.
_EMAIL = re.compile(r"@(?<=[\w.+-]{2}@)[A-Za-z0-9-]{2,63}(?:\.[A-Za-z0-9-]{2,63})+\b")
_SLASH = r"/(?:(?<![\w.~$}*-]/)|(?<=\\[nrt]/))"
"""The first of a path: not within another one, but also behind the line end of a text in JSON."""
_HOME = re.compile(rf"{_SLASH}(?:(?:home|Users)/\w[\w.-]|root/[\w.])")
_STATED = re.compile(r"\"\s*:\s*\\?\"(/[\w.@+-]+/[^\"\s]+)")
"""A value in JSON that is an absolute path, such as the folder that a model was loaded from."""
_SYSTEM = ("/usr", "/etc", "/bin", "/lib", "/proc", "/dev", "/sys")
"""Folders of every machine: naming them says nothing of this one."""


def secret_in(data: bytes, redactor: Redactor, machine: Collection[str] = ()) -> str | None:
    """What must not be published, in words without its value; None if nothing of the kind is there.

    All printable text of at least SHORTEST characters is searched, in binary files too. Values of secret-named
    variables are searched for in all bytes, and so are `machine`: absolute paths of this machine, from `machine_paths`.
    """
    text = "\n".join(run.decode("ascii") for run in _PRINTABLE.findall(data))
    if redactor.holds(data) or redactor.text(text) != text:
        return "a secret"
    if _EMAIL.search(text):
        return "an e-mail address"
    if _HOME.search(text):
        return "a path of a home folder"
    if machine and _any_of(machine).search(data):
        return "an absolute path of this machine"
    stated = (Path(match[1]) for match in _STATED.finditer(text))
    return "an absolute path" if any(map(_tells, stated)) else None


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
        named = [path for part in value.split(os.pathsep) if (path := Path(part)).is_absolute() and _is_folder(path)]
        found |= {*named, *(path.resolve() for path in named)}
    return tuple(sorted({os.path.normpath(path) for path in found if _tells(path)}))


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False  # a value that is too long for a path, or a place that this user may not look at


def _tells(path: Path) -> bool:
    return len(path.parts) > 2 and not str(path).startswith(tuple(f"{folder}/" for folder in _SYSTEM))


def _any_of(machine: Collection[str]) -> re.Pattern[bytes]:
    """These paths, as UTF-8 and as JSON writes them, whole components only."""
    forms = {form[1:] for path in machine for form in (os.fsencode(path), json.dumps(path)[1:-1].encode())}
    return re.compile(_SLASH.encode() + rb"(?:" + b"|".join(map(re.escape, sorted(forms))) + rb")(?![\w-])")
