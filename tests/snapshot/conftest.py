"""Rows of every shape that a snapshot holds, and a small dataset made of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trackyard.row import Media, Row, Turn
from trackyard.snapshot import writer
from trackyard.snapshot.manifest import Manifest
from trackyard.snapshot.writer import write_dataset


def _make_row(number: int, *, size: int = 2000, videos: int = 0, images: int = 1, **changes: Any) -> Row:
    """Row `number`, whose media are `size` incompressible bytes each."""
    data = np.random.default_rng(number).bytes(size)
    pictures = [Media(kind="image", data=data, path=f"{number}-{k}.png", width=640, height=480) for k in range(images)]
    clips = [
        Media(kind="video", data=data, path=f"{number}.mp4", width=64, height=48, frames=25, fps=29.97, duration=0.834)
        for _ in range(videos)
    ]
    values: dict[str, Any] = {
        "id": f"row-{number:05d}",
        "task": "user_qa",
        "media": (*pictures, *clips),
        "conversations": (
            (Turn(role="user", content=f"Which number? é {number}"), Turn(role="assistant", content=str(number))),
            (Turn(role="user", content=""), Turn(role="assistant", content="")),
        ),
        "meta": {"label": ["", "ship"], "points": [[], [{"media": 1, "t": 1.0, "id": 0, "x": 0.25, "y": 1 / 3}]]},
    }
    return Row(**(values | changes))


MakeRow = Callable[..., Row]
Write = Callable[..., Manifest]


@pytest.fixture
def make_row() -> MakeRow:
    return _make_row


@pytest.fixture
def write() -> Write:
    """write_dataset with the arguments that most tests do not care about."""

    def call(directory: Path, rows_by_split: dict[str, Any], **options: Any) -> Manifest:
        given = {"dataset": directory.name, "source": {"generator": "tests"}, "licence": "CC0-1.0"}
        return write_dataset(directory, rows_by_split, **(given | options))

    return call


@pytest.fixture
def dataset(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> Path:
    """40 train rows in row groups of 4 and three shards, 5 validation rows in one."""
    monkeypatch.setattr(writer, "ROWS_WITH_IMAGES", 4)
    rows = {"train": map(_make_row, range(40)), "validation": map(_make_row, range(40, 45))}
    directory = tmp_path / "mini" / "numbers"
    write(directory, rows, shard_bytes=30_000)
    return directory
