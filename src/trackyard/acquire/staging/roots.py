"""The two roots of a copy of the nine datasets, and where a path that a row stores lies below them.

Rows store absolute paths of the machine that built the cache. Source: nine-datasets spec sections 2 and 3.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trackyard.digest import digest_bytes, short
from trackyard.errors import ConfigError, EnvironmentLacking

HF_HOME = "hf_home"
MOLMO = "molmo"
MAPPED = "mapped"
"""Folder below the target's molmo root that takes files of roots which only a map names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Roots:
    """hf_home: HF_HOME, caches in its `datasets`. molmo: MOLMO_DATA_DIR, raw data in its `torch_datasets`."""

    hf_home: Path
    molmo: Path

    @classmethod
    def below(cls, path: Path) -> Roots:
        """The usual arrangement: `huggingface` and `molmo` side by side."""
        return cls(hf_home=path.absolute() / "huggingface", molmo=path.absolute() / "molmo")

    @property
    def caches(self) -> Path:
        return self.hf_home / "datasets"

    @property
    def raw(self) -> Path:
        return self.molmo / "torch_datasets"

    @property
    def staged(self) -> Path:
        """Entries with their images inside, a folder each."""
        return self.molmo / "staged"

    @property
    def relocated(self) -> Path:
        """Records of entries that were copied file by file, a folder each."""
        return self.molmo / "relocated"

    def path(self, root: str) -> Path:
        """The directory of a root by its name, those of maps included."""
        return {HF_HOME: self.hf_home, MOLMO: self.molmo}.get(root) or self.molmo / root

    def as_json(self) -> dict[str, str]:
        return {HF_HOME: str(self.hf_home), MOLMO: str(self.molmo)}

    def check_readable(self, *, absent: bool = False) -> None:
        """EnvironmentLacking names the root that is closed to this user, or absent unless that is allowed."""
        for name, path in ((HF_HOME, self.hf_home), (MOLMO, self.molmo)):
            try:
                with os.scandir(path):
                    pass
            except OSError as error:
                if absent and isinstance(error, FileNotFoundError):
                    continue
                raise EnvironmentLacking(
                    what=f"the {name} root {path} cannot be read: {error.strerror}",
                    why="nothing can be said about the datasets below it",
                    fix="name the folder that holds huggingface/ and molmo/ with --from (verify: --at), "
                    "on a machine that has it mounted",
                ) from error

    def check_writable(self) -> None:
        """EnvironmentLacking names the root that cannot be made or written to."""
        for name, path in ((HF_HOME, self.hf_home), (MOLMO, self.molmo)):
            existing = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
            if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
                raise EnvironmentLacking(
                    what=f"the {name} root {path} cannot be written: {existing} is closed to this user or no folder",
                    why="the datasets are to be put there",
                    fix="name another folder with --to, or ask for write access",
                )


@dataclass(frozen=True, slots=True)
class Placed:
    """A file below a root. root: `hf_home`, `molmo` or `mapped/<name>`; relative: below it; path: where it is now."""

    root: str
    relative: str
    path: Path


class Locator:
    """Finds the root of stored paths. maps: old prefix -> the folder that holds its files now."""

    def __init__(self, roots: Roots, maps: Mapping[Path, Path]) -> None:
        self._maps = sorted(_checked(maps), key=lambda pair: -len(pair[0]))
        self._bases: list[tuple[str, str]] = []
        named = [(HF_HOME, str(roots.hf_home)), (MOLMO, str(roots.molmo))]
        named += [(_name_of(new), new) for _, new in self._maps]
        for root, base in named:
            # Scratch is often a link: rows may store either form.
            for form in dict.fromkeys((os.path.abspath(base), os.path.realpath(base))):  # noqa: PTH100
                self._bases.append((root, form))
        self._real: dict[str, str] = {}

    def locate(self, stored: str) -> Placed | None:
        """Where the file of a stored path lies, whether or not it is there; None outside of every root."""
        path = os.path.normpath(stored)
        for old, new in self._maps:
            if _is_below(path, old):
                path = new + path[len(old) :]
                break
        return self._below(path) or self._below(self._resolved(path))

    def _below(self, path: str) -> Placed | None:
        for root, base in self._bases:
            if _is_below(path, base) and path != base:
                return Placed(root, path[len(base) + 1 :], Path(path))
        return None

    def _resolved(self, path: str) -> str:
        """The path with the links of its folder followed; a folder is asked once."""
        folder, name = os.path.split(path)
        if folder not in self._real:
            self._real[folder] = os.path.realpath(folder)
        return f"{self._real[folder]}/{name}"


def _is_below(path: str, base: str) -> bool:
    return path == base or path.startswith(f"{base}/")


def _name_of(new: str) -> str:
    return f"{MAPPED}/{Path(new).name}-{short(digest_bytes(os.fsencode(new)))}"


def _checked(maps: Mapping[Path, Path]) -> list[tuple[str, str]]:
    for old, new in maps.items():
        if not old.is_absolute() or not new.is_dir():
            problem = f"{old} is not absolute" if not old.is_absolute() else f"{new} is not a folder"
            raise ConfigError(
                what=f"--map {old}={new}: {problem}",
                why="rows store absolute paths, and their files are looked for below the new folder",
                fix="write --map OLD=NEW with the prefix that the rows store and a folder that exists",
            )
    return [(os.path.normpath(old), os.path.abspath(new)) for old, new in maps.items()]  # noqa: PTH100
