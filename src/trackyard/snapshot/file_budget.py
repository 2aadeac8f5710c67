"""How many files a dataset becomes, and the refusal of one that would exceed a quota of files. Source: pain 4."""

from __future__ import annotations

from math import ceil

from trackyard.errors import DataError
from trackyard.snapshot.writer import SHARD_BYTES

LARGEST_SHARD = 1_000_000_000
"""Bytes (molmo2 spec section 3: shards of 100 MB to 1 GB)."""
_MANIFEST = 1
_MEGABYTE = 1_000_000


def shard_count(estimate_bytes: int, *, shard_bytes: int = SHARD_BYTES) -> int:
    """Shards that this many bytes of media and text become, at least one."""
    return max(1, ceil(estimate_bytes / shard_bytes))


def check_file_budget(
    dataset: str, estimate_bytes: int, *, max_files: int | None, shard_bytes: int = SHARD_BYTES
) -> None:
    """DataError, before anything is written, if the dataset would be more files than allowed; None allows any number.

    The error names the smallest change that fits: larger shards, or where those would exceed 1 GB, more files.
    """
    files = shard_count(estimate_bytes, shard_bytes=shard_bytes) + _MANIFEST
    if max_files is None or files <= max_files:
        return
    least = ceil(estimate_bytes / max(max_files - _MANIFEST, 1) / _MEGABYTE) * _MEGABYTE
    if max_files > _MANIFEST and least <= LARGEST_SHARD:
        fix = f"--shard-bytes {least}: {shard_count(estimate_bytes, shard_bytes=least) + _MANIFEST} files"
    else:
        needed = shard_count(estimate_bytes, shard_bytes=LARGEST_SHARD) + _MANIFEST
        fix = f"--max-files {needed} --shard-bytes {LARGEST_SHARD}: the fewest files there can be"
    raise DataError(
        what=f"{dataset} would be {files:,} files of about {shard_bytes / 1e6:,.0f} MB, {max_files:,} are allowed",
        why="a quota of files that runs out stops every job of the project, not only this one",
        fix=fix,
    )
