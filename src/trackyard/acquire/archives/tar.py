"""Members of a tar archive, plain or compressed, checked and handed on one by one in one forward pass.

Source: reliability spec F18 and section 6.
"""

from __future__ import annotations

import bz2
import gzip
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from lzma import FORMAT_XZ, LZMADecompressor
from pathlib import Path
from typing import BinaryIO, Protocol

from trackyard.acquire.archives.tree import CHUNK, Tree

HEADER_BYTES = 2**20
"""Bytes of tar headers before one member; long names and extended attributes take a few kilobytes."""

XZ_MEMORY = 256 * 2**20
"""Memory in bytes that an xz stream may ask for; `xz -9` asks for 65 MiB."""


MAX_GLOBAL_HEADERS = 100
"""Keywords of pax headers that hold for all members; git writes one."""

_KINDS = {
    tarfile.SYMTYPE: "symbolic link",
    tarfile.LNKTYPE: "hard link",
    tarfile.CHRTYPE: "character device",
    tarfile.BLKTYPE: "block device",
    tarfile.FIFOTYPE: "named pipe",
}


def unpack_tar(archive: Path, tree: Tree) -> None:
    """Write every member to `tree`. Raises DataError; OSError if something cannot be written."""
    with ExitStack() as closing:
        with tree.reading(None):
            stream = closing.enter_context(_open_stream(archive))
            headers = _Headers(stream, tree)
            opened = tarfile.TarFile(fileobj=headers, encoding="utf-8")  # type: ignore[arg-type]
        while True:
            with tree.reading(headers.member):
                member = opened.next()
            if member is None:
                break
            opened.members = []  # type: ignore[attr-defined]  # tarfile keeps every member it has seen
            _check_member(member, tree)
            if len(opened.pax_headers) > MAX_GLOBAL_HEADERS:
                tree.refuse(member.name, f"{len(opened.pax_headers)} global headers", "they pile up in memory")
            headers.begin(member.name)
            if member.isdir():
                tree.folder(member.name)
                continue
            tree.file(member.name, member.size, headers.content)
            with tree.reading(member.name):
                headers.skip(-member.size % tarfile.BLOCKSIZE)
        with tree.reading(headers.member):
            headers.finish()


def _check_member(member: tarfile.TarInfo, tree: Tree) -> None:
    if member.issparse() or not (member.isreg() or member.isdir()):
        found = "sparse file" if member.issparse() else _KINDS.get(member.type, f"member of type {member.type!r}")
        tree.refuse(
            member.name, f"a {found}", "only regular files and folders are unpacked: links lead out of the target"
        )
    if member.size < 0:
        tree.refuse(member.name, f"a size of {member.size:,} bytes", "it cannot have that many")


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Headers:
    """What tarfile reads headers from: forward only, and never more than `HEADER_BYTES` between two members.

    tarfile trusts the sizes that headers state; with a seekable file they make it read gigabytes, or turn back forever.
    """

    def __init__(self, stream: _Stream, tree: Tree) -> None:
        self.member: str | None = None
        """Name of the member read last."""
        self._stream, self._tree = stream, tree
        self._position, self._left = 0, HEADER_BYTES
        self._last = b""

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> int:
        raise tarfile.ReadError(f"a header leads from byte {self._position:,} to byte {position:,}")

    def read(self, size: int) -> bytes:
        """For tarfile: a header or a part of it."""
        if not 0 <= size <= self._left:
            raise tarfile.ReadError(f"headers of more than {HEADER_BYTES:,} bytes before one member")
        self._left -= size
        self._last = self._take(size)
        return self._last

    def begin(self, member: str) -> None:
        """A member's headers have been read; those of the next may be as long."""
        self.member, self._left = member, HEADER_BYTES

    def content(self, size: int) -> bytes:
        """At most `size` bytes of a member's contents; the caller counts them."""
        data = self._stream.read(size)
        self._position += len(data)
        return data

    def skip(self, size: int) -> None:
        """Pass over the padding behind a member's contents."""
        if len(self._take(size)) != size:
            raise EOFError("the padding behind it is missing")

    def finish(self) -> None:
        """Prove that the archive ended where it says so: tarfile takes damage for the end.

        Reading on to the end of the stream also makes the decompressor compare its checksum.
        """
        if self._last != bytes(tarfile.BLOCKSIZE):
            raise EOFError("what follows is neither a member nor the mark of the end")
        while data := self._take(CHUNK):
            if data.count(0) != len(data):
                raise tarfile.ReadError("data follow the mark of the end, which would not be unpacked")

    def _take(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (more := self._stream.read(size - len(data))):
            data += more
        self._position += len(data)
        self._tree.spend(len(data), self.member)
        return data


@contextmanager
def _open_stream(archive: Path) -> Iterator[_Stream]:
    """The uncompressed bytes of a file, whose first bytes tell how it is compressed; its name does not count."""
    with ExitStack() as opened:
        raw = opened.enter_context(open(archive, "rb"))
        magic = raw.read(6)
        raw.seek(0)
        if magic.startswith(b"\x1f\x8b"):
            yield opened.enter_context(gzip.GzipFile(fileobj=raw))
        elif magic.startswith(b"BZh"):
            yield opened.enter_context(bz2.BZ2File(raw))
        elif magic == b"\xfd7zXZ\0":
            yield _XzStream(raw)
        elif magic.startswith(b"\x28\xb5\x2f\xfd"):
            import pyarrow as pa  # its decoder is bounded (windows to 128 MiB); Python 3.11 has none

            yield opened.enter_context(pa.CompressedInputStream(raw, "zstd"))
        else:
            yield raw


class _XzStream:
    """An xz file of one or more streams, decoded with limited memory, which `lzma.LZMAFile` cannot."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._decoder = LZMADecompressor(FORMAT_XZ, memlimit=XZ_MEMORY)

    def read(self, size: int, /) -> bytes:
        while True:
            data = b""
            if self._decoder.eof:
                data = self._decoder.unused_data.lstrip(b"\0")  # streams are padded with zeros
                while not data:
                    more = self._raw.read(CHUNK)
                    if not more:
                        return b""
                    data = more.lstrip(b"\0")
                self._decoder = LZMADecompressor(FORMAT_XZ, memlimit=XZ_MEMORY)
            elif self._decoder.needs_input:
                data = self._raw.read(CHUNK)
                if not data:
                    raise EOFError("the compressed stream is cut")
            out = self._decoder.decompress(data, size)
            if out:
                return out
