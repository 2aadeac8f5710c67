"""Measurements that are made once: a result of the same inputs, parameters and code is taken, not computed again.

DVC removes what a stage put out before it runs the stage again; what is kept lies under runs/, so that a stage of
several parts which was cut off goes on with the part that is missing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trackyard.digest import digest_json, short
from trackyard.durable import write_atomic
from trackyard.record.code import CodeIdentity

Write = Callable[[Path, str, Mapping[str, Any], float], None]
"""Writes a result: path, run id, body, seconds that the body took."""


def keep_result(
    folder: Path,
    target: Path,
    *,
    result: str,
    cell: str,
    spec: str,
    inputs: Mapping[str, str],
    code: CodeIdentity,
    make: Callable[[], Mapping[str, Any]],
    write: Write,
) -> None:
    """Bring a result to `target`; `make` computes its body if none of the same origin is kept below `folder`.

    spec: digest of the parameters that decide it. inputs: blake3 of all files that `make` reads, by path.
    """
    key = digest_json({"stage": result, "cell": cell, "spec": spec, "inputs": dict(inputs), "code": asdict(code)})
    kept = folder / "measured" / result / f"{cell}-{short(key)}.json"
    if not kept.exists():
        started = time.monotonic()
        body = make()
        kept.parent.mkdir(parents=True, exist_ok=True)
        write(kept, short(key), body, time.monotonic() - started)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(target, kept.read_bytes())
