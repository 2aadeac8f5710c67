"""Content digests (blake3) and the one canonical JSON form that is ever hashed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from blake3 import blake3

SHORT = 12
"""Hex characters of a short digest, as used in run ids and directory names."""


def canonical_json(value: Any) -> bytes:
    """Serialise to UTF-8 JSON with sorted keys and no spaces; NaN and infinities are refused (ValueError)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest_bytes(data: bytes) -> str:
    """blake3 of `data`, 64 hex characters."""
    return blake3(data).hexdigest()


def digest_json(value: Any) -> str:
    """blake3 of the canonical JSON of `value`, 64 hex characters."""
    return digest_bytes(canonical_json(value))


def digest_file(path: Path) -> str:
    """blake3 of a file's bytes, read through mmap; OSError if it cannot be read."""
    hasher = blake3()
    hasher.update_mmap(path)
    return hasher.hexdigest()


def short(digest: str) -> str:
    """First `SHORT` characters: for names that people read, never for verification."""
    return digest[:SHORT]
