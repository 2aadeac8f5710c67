"""Names of an archive's members: which paths they lead to, and which are refused.

Nothing in a name is repaired: a name that means one thing here and another on the next file system is refused.
Source: reliability spec F18 and section 6.
"""

from __future__ import annotations

import re
import unicodedata

MAX_PART_BYTES = 255
"""UTF-8 bytes of one part of a path: what every file system in use here holds."""

MAX_PATH_BYTES = 2048
"""UTF-8 bytes of a path below the target; half of what the system calls take, so that the target fits before it."""

MAX_NAMES_BYTES = 256 * 2**20
"""UTF-8 bytes of all names of one archive, which are held in memory to be compared."""

_DRIVE = re.compile(r"[A-Za-z]:")


class RefusedName(Exception):
    """A name that is not unpacked, and the reason."""


def relative_path(name: str) -> str:
    """The path that a member's name leads to, below the target, with "/" between its parts; "" for the target itself.

    Empty parts and "." are left out. Raises RefusedName: absolute, "..", backslash, drive letter, NUL, not UTF-8, too
    long.
    """
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:
        raise RefusedName("its name is not valid UTF-8") from error
    if "\0" in name:
        raise RefusedName("its name holds a NUL byte, behind which other programs would not read")
    if "\\" in name:
        raise RefusedName("its name holds a backslash, which separates folders on some systems")
    if name.startswith("/"):
        raise RefusedName("its path is absolute")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if parts and _DRIVE.match(parts[0]):
        raise RefusedName("its path begins with a drive letter")
    if ".." in parts:
        raise RefusedName('its path holds ".."')
    if size > MAX_PATH_BYTES or any(len(part.encode()) > MAX_PART_BYTES for part in parts):
        raise RefusedName(
            f"its name has {size:,} bytes; {MAX_PART_BYTES} a part and {MAX_PATH_BYTES:,} in all are read"
        )
    return "/".join(parts)


def folded(path: str) -> str:
    """What two paths share that some file system takes for one: compared without case, in one Unicode form."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())


class Members:
    """The paths of one tree, each claimed once. count: files and folders, folders that are only implied included."""

    def __init__(self, *, max_entries: int) -> None:
        self._max_entries = max_entries
        self._claimed: dict[str, tuple[str, bool]] = {}
        self._folders: set[str] = {""}
        self._names_bytes = 0

    @property
    def count(self) -> int:
        return len(self._claimed)

    def claim(self, name: str, *, folder: bool) -> str:
        """Claim the path of a member and return it; "" for a folder entry of the target itself.

        Raises RefusedName, as `relative_path` does, and: a path that is there already, alone or but for case or
        Unicode form; a file in the place of a folder; too many entries.
        """
        path = relative_path(name)
        if not folder and name.rpartition("/")[2] in ("", "."):
            raise RefusedName("it is a file, and its name is that of a folder")
        parent = path.rpartition("/")[0]
        if parent not in self._folders:
            parts = parent.split("/")
            for end in range(1, len(parts) + 1):
                self._take("/".join(parts[:end]), folder=True)
        if path:
            self._take(path, folder=folder)
        return path

    def _take(self, path: str, *, folder: bool) -> None:
        if folder and path in self._folders:
            return
        key = folded(path)
        known = self._claimed.get(key)
        if known is not None:
            raise RefusedName(_clash(path, folder, *known))
        if len(self._claimed) >= self._max_entries:
            raise RefusedName(f"it is more than the {self._max_entries:,} files and folders that are unpacked at most")
        self._names_bytes += len(path.encode())
        if self._names_bytes > MAX_NAMES_BYTES:
            raise RefusedName(f"the names up to it take more than {MAX_NAMES_BYTES:,} bytes")
        self._claimed[key] = path, folder
        if folder:
            self._folders.add(path)


def _clash(path: str, folder: bool, other: str, other_folder: bool) -> str:
    if path != other:
        return f"{path!r} and {other!r} are one name where case or Unicode form does not count"
    if folder != other_folder:
        return f"{path!r} is a file and a folder"
    return f"{path!r} is there already"
