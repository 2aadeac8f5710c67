"""Files of named tensors in the safetensors format, hashed while they are written and proved before they are used.

A file is eight bytes (length of the header, little-endian), the header (JSON: dtype, shape and byte range by name) and
the raw tensors. Nothing in it is ever executed. Source: the safetensors format, reliability section 4.1.
"""

from __future__ import annotations

import errno
import json
import math
import mmap
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from blake3 import blake3

from trackyard.digest import canonical_json
from trackyard.errors import CheckpointError

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "I64": torch.int64,
    "I32": torch.int32,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""Names of the format and what they mean here; other types are refused."""
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_BLOCK = 4096
"""Unit of writes past the page cache, in bytes."""
_CHUNK = 16 << 20
_WRITER_THREADS = 2
"""Hashing while training goes on: faster than any disk, and the other cores belong to the loader."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where each tensor lies in the body of a file."""

    tensors: Mapping[str, tuple[torch.dtype, tuple[int, ...], int]]
    """Name -> dtype, shape, first byte."""
    size: int
    """Bytes of the body."""

    @classmethod
    def of(cls, tensors: Iterable[tuple[str, torch.dtype, tuple[int, ...]]]) -> Layout:
        """One after the other, wide types first, so that every tensor is aligned to its own width."""
        placed, offset = {}, 0
        for name, dtype, shape in sorted(tensors, key=lambda tensor: -tensor[1].itemsize):
            placed[name] = (dtype, shape, offset)
            offset += math.prod(shape) * dtype.itemsize
        return cls(tensors=placed, size=offset)

    def header(self) -> bytes:
        """What stands before the body, padded so that the body begins at a block."""
        entries = {
            name: {
                "dtype": _NAMES[dtype],
                "shape": list(shape),
                "data_offsets": [offset, offset + math.prod(shape) * dtype.itemsize],
            }
            for name, (dtype, shape, offset) in self.tensors.items()
        }
        text = canonical_json(entries)
        text += b" " * (-(len(text) + 8) % _BLOCK)
        return len(text).to_bytes(8, "little") + text

    def body(self, *, pinned: bool = False) -> torch.Tensor:
        """Zeros for a body, uint8, whole blocks that begin at one. pinned: a device copies into it by itself."""
        size = -(-self.size // _BLOCK) * _BLOCK
        memory = torch.zeros(size + _BLOCK, dtype=torch.uint8, pin_memory=pinned)
        return memory.narrow(0, -memory.data_ptr() % _BLOCK, size)

    def views(self, body: torch.Tensor) -> dict[str, torch.Tensor]:
        """The tensors in a body, without a copy."""
        return {
            name: body[offset : offset + math.prod(shape) * dtype.itemsize].view(dtype).view(shape)
            for name, (dtype, shape, offset) in self.tensors.items()
        }


@dataclass(frozen=True, kw_only=True)
class Written:
    """A file that is on the device: its bytes and their digest."""

    size: int
    blake3: str


def write_tensor_file(path: Path, layout: Layout, body: torch.Tensor) -> Written:
    """Write and fsync a new file. body: made by `layout.body`. Raises OSError, and leaves no file then."""
    header, blocks = layout.header(), body.numpy().data
    hasher = blake3(header, max_threads=_WRITER_THREADS)
    # Beside the writing: waiting for the device and hashing cost the longer of both, not the sum.
    hashing = threading.Thread(target=hasher.update, args=(blocks[: layout.size],), name="digest")
    hashing.start()
    size = len(header) + layout.size
    try:
        _write(path, header, blocks, size)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        hashing.join()
    return Written(size=size, blake3=hasher.hexdigest())


def _write(path: Path, header: bytes, blocks: memoryview, size: int) -> None:
    """Past the page cache, which the rows of the loader need more; through it where the file system has no such way."""
    try:
        _write_blocks(path, header, blocks, size, os.O_DIRECT)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
        path.unlink(missing_ok=True)
        _write_blocks(path, header, blocks, size, 0)


def _write_blocks(path: Path, header: bytes, blocks: memoryview, size: int, how: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | how, 0o644)
    try:
        with mmap.mmap(-1, len(header)) as aligned:
            aligned[:] = header
            with memoryview(aligned) as block:
                _write_all(handle, block)
        _write_all(handle, blocks)
        # The last block is longer than what is in it.
        os.ftruncate(handle, size)
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_all(handle: int, data: memoryview) -> None:
    done = 0
    while done < len(data):
        with data[done : done + _CHUNK] as chunk:
            done += os.write(handle, chunk)


def tensor_file_of(path: Path, tensors: Mapping[str, torch.Tensor]) -> Written:
    """Write a few small tensors of host memory."""
    layout = Layout.of((name, tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items())
    body = layout.body()
    for name, view in layout.views(body).items():
        view.copy_(tensors[name])
    return write_tensor_file(path, layout, body)


def read_tensor_file(path: Path, *, expected: str, fix: str) -> dict[str, torch.Tensor]:
    """The tensors of a file whose every byte was hashed first; they lie in the file's own pages, nothing is copied.

    Raises CheckpointError with both digests if one bit differs from what was written, or the file cannot be read.
    """
    try:
        mapped = _map(path)
    except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
        raise damaged(path, expected, f"nothing readable: {error}", fix) from error
    found = blake3(max_threads=blake3.AUTO).update(mapped).hexdigest()
    if found != expected:
        raise damaged(path, expected, found, fix)
    whole = torch.frombuffer(mapped, dtype=torch.uint8)
    try:
        start, layout = _parse(mapped)
        return layout.views(whole[start:])
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(
            what=f"{path} is not a file of tensors in the safetensors format: {error}",
            why="its digest is the one of the manifest, so it was listed by somebody else; nothing else is ever read",
            fix=fix,
        ) from error


def _parse(mapped: mmap.mmap) -> tuple[int, Layout]:
    """First byte of the body, and what lies in it."""
    start = 8 + int.from_bytes(mapped[:8], "little")
    entries = json.loads(mapped[8:start])
    tensors = {
        name: (DTYPES[entry["dtype"]], tuple(entry["shape"]), entry["data_offsets"][0])
        for name, entry in entries.items()
        if name != "__metadata__"
    }
    return start, Layout(tensors=tensors, size=len(mapped) - start)


def damaged(path: Path, expected: str, found: str, fix: str) -> CheckpointError:
    """The error about a file that is not what its manifest says."""
    return CheckpointError(
        what=f"{path}: expected blake3 {expected}, found {found}",
        why="a damaged state gives another model, silently",
        fix=fix,
    )


def _map(path: Path) -> mmap.mmap:
    """A private, writable mapping: torch wants its memory writable, and the file is not changed by it."""
    if path.is_symlink():
        raise OSError("it is a link, and leads out of the checkpoint")
    with open(path, "rb") as handle:
        return mmap.mmap(handle.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)


def require_names(
    expected: Iterable[str], found: Iterable[str], *, allow_missing: tuple[str, ...] = (), where: str
) -> None:
    """Refuse a state that lacks or adds a tensor; CheckpointError names the differences.

    allow_missing: exact names, or prefixes that end with a dot, which `found` may lack. Nothing may be added.
    """
    wanted, stored = set(expected), set(found)
    prefixes = tuple(name for name in allow_missing if name.endswith("."))
    missing = sorted(name for name in wanted - stored if name not in allow_missing and not name.startswith(prefixes))
    unexpected = sorted(stored - wanted)
    if missing or unexpected:
        raise CheckpointError(
            what=f"{where}: {_some('lacks', missing)}{'; ' if missing and unexpected else ''}"
            f"{_some('holds what the model does not have:', unexpected)}",
            why="a tensor that is left out or left over gives another model, silently",
            fix="resume with the model and the trained components that it was written with",
        )


def _some(words: str, names: list[str]) -> str:
    """At most five of the names, and how many more there are."""
    if not names:
        return ""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{words} {', '.join(names[:5])}{more}"
