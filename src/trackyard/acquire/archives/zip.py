"""Members of a zip archive, checked and handed on one by one. Source: reliability spec F18 and section 6."""

from __future__ import annotations

import os
import stat
import struct
import zipfile
from pathlib import Path
from typing import BinaryIO

from trackyard.acquire.archives.members import MAX_NAMES_BYTES
from trackyard.acquire.archives.tree import Tree

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
# Method 14 (LZMA) is left out: its header makes the decoder take up to 4 GB of memory.

_ENCRYPTED = 0x1 | 0x40 | 0x2000
_REPARSE_POINT = 0x400


_KINDS = {
    stat.S_IFLNK: "symbolic link",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
    stat.S_IFIFO: "named pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFDIR: "folder that is named like a file",
    stat.S_IFREG: "file that is named like a folder",
}

_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")


def is_zip(archive: Path) -> bool:
    """Whether a file begins as a zip archive does; its name does not count. OSError if it cannot be read."""
    with open(archive, "rb") as handle:
        return handle.read(4) in (b"PK\3\4", b"PK\5\6")


def unpack_zip(archive: Path, tree: Tree) -> None:
    """Write every member to `tree`. Raises DataError; OSError if something cannot be written."""
    with open(archive, "rb") as handle:
        with tree.reading(None):
            stated = _check_directory(handle, tree)
            opened = zipfile.ZipFile(handle)
        members = opened.infolist()
        if len(members) != stated:
            tree.refuse(None, f"{len(members):,} members, {stated:,} stated", "its directory is damaged, or one of two")
        for member in members:
            # `filename` is cut at a NUL byte and converted; the name as stored is the one to judge.
            name = member.orig_filename
            _check_member(member, name, tree)
            if name.endswith("/"):
                tree.folder(name)
                continue
            with tree.reading(name):
                stream = opened.open(member)
            with stream:
                tree.file(name, member.file_size, stream.read)
                with tree.reading(name):
                    stream.read(1)  # the checksum is compared when the end is read, also that of an empty file


def _check_member(member: zipfile.ZipInfo, name: str, tree: Tree) -> None:
    kind = stat.S_IFMT(member.external_attr >> 16)
    expected = (0, stat.S_IFDIR) if name.endswith("/") else (0, stat.S_IFREG)
    if kind not in expected or member.external_attr & _REPARSE_POINT:
        found = _KINDS.get(kind, "special file") if kind not in expected else "link of Windows"
        tree.refuse(name, f"a {found}", "only regular files and folders are unpacked: links lead out of the target")
    if member.flag_bits & _ENCRYPTED:
        tree.refuse(name, "encrypted", "without its password it cannot be read")
    if member.compress_type not in _METHODS:
        tree.refuse(name, f"compression method {member.compress_type}", "stored, deflated and bzip2 are read")
    if name.endswith("/") and member.file_size:
        tree.refuse(name, f"a folder with {member.file_size:,} bytes of contents", "they would be lost")


def _check_directory(handle: BinaryIO, tree: Tree) -> int:
    """Members that the directory states; too many are refused here, since zipfile makes an object of each at once."""
    size = handle.seek(0, os.SEEK_END)
    tail_at = max(0, size - _END.size - 0xFFFF)
    handle.seek(tail_at)
    tail = handle.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0:
        raise EOFError("the directory at its end is missing")
    count, length = _END.unpack_from(tail, at)[4:6]
    end = tail_at + at
    if (count == 0xFFFF or length == 0xFFFFFFFF) and at >= _LOCATOR.size:
        mark, _, where, _ = _LOCATOR.unpack_from(tail, at - _LOCATOR.size)
        if mark == b"PK\6\7":
            handle.seek(where)
            count, length = _END64.unpack(handle.read(_END64.size))[7:9]
            end = where
    if length > min(end, MAX_NAMES_BYTES):
        tree.refuse(None, f"a directory of {length:,} bytes", f"at most {MAX_NAMES_BYTES:,} are read, if it has them")
    handle.seek(end - length)
    # The mark of an entry, counted: a directory can state fewer entries than it has.
    if max(count, handle.read(length).count(b"PK\1\2")) > tree.max_entries:
        tree.refuse(None, f"more than {tree.max_entries:,} members", "as many files exceed what file systems allow")
    return int(count)
