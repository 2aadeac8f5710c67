"""Peer of the benchmark of a long stream, in an environment without trackyard.

    python benchmarks/text_stream_peer.py DIRECTORY

`datasets` in streaming mode, one document after another, ids appended to one file. Source: issue on the Pile-FFN track.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measured import report

FILE = "text.jsonl.gz"
PEER = "datasets, streaming"


def peak_bytes() -> int:
    """The most memory of this process that was in RAM."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None, "/proc/self/status has no VmHWM"
    return int(found[1]) * 1024


def with_peak(work: Callable[[], tuple[float, Any]], memory: dict[str, int]) -> Callable[[], tuple[float, Any]]:
    """`work`, and into `memory` the peak before it and at its end."""

    def measured() -> tuple[float, Any]:
        memory["before_bytes"] = peak_bytes()
        found = work()
        memory["peak_bytes"] = peak_bytes()
        return found

    return measured


def stream(directory: Path) -> tuple[float, Any]:
    import datasets

    rows = datasets.load_dataset("json", data_files=str(directory / FILE), split="train", streaming=True)
    size = documents = tokens = 0
    with open(directory / "peer.bin", "wb") as file:
        for row in rows:
            data = row["text"].encode()
            ids = np.frombuffer(data, dtype=np.uint8)[::4].astype("<u2")
            file.write(ids.tobytes())
            documents, tokens, size = documents + 1, tokens + ids.size, size + len(data)
    return size / 1e6, [documents, tokens]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    given = parser.parse_args()
    memory: dict[str, int] = {}
    report(with_peak(lambda: stream(given.directory), memory), memory=memory)


if __name__ == "__main__":
    main()
