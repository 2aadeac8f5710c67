"""Published layouts: another one, another number of items or a damaged file fails by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from trackyard.errors import DataError
from trackyard.recipes.datacomp.evaluating.hub_items import blink_items, copy_of, vsr_items


@pytest.mark.parametrize(
    ("name", "path", "change", "said"),
    [
        ("vsr-zeroshot", "test.jsonl", lambda data: data.partition(b"\n")[2], "zeroshot: 615 of 616"),
        ("vsr-zeroshot", "test.jsonl", lambda data: data.replace(b'"caption"', b'"text"'), "lacks caption"),
        ("vsr-zeroshot", "test.jsonl", lambda data: data + b"{", "cannot be read"),
    ],
)
def test_another_layout_or_number_fails_by_name(
    cache_of: Path, tmp_path: Path, name: str, path: str, change: Callable[[bytes], bytes], said: str
) -> None:
    copy = copy_of(cache_of, name)
    (tmp_path / path).write_bytes(change((copy.folder / path).read_bytes()))
    copy.folder = tmp_path
    with pytest.raises(DataError, match=said):
        list(vsr_items({"zeroshot": copy}))


def test_a_task_of_blink_that_is_not_there_is_named(cache_of: Path, tmp_path: Path) -> None:
    copy = copy_of(cache_of, "blink")
    for task in ("Art_Style", "Counting"):
        (tmp_path / task).mkdir()
        source = copy.folder / task / "val-00000-of-00001.parquet"
        (tmp_path / task / source.name).write_bytes(source.read_bytes())
    copy.folder = tmp_path
    found = blink_items(copy)
    with pytest.raises(DataError, match=r"Forensic_Detection/val-\*\.parquet cannot be read: there is no such file"):
        list(found)
