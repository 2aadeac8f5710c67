"""An import in parts reads what an import in one reads."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from hypothesis import given
from hypothesis import strategies as st

from trackyard.acquire.importing.account import Account
from trackyard.acquire.importing.parts import plan_import
from trackyard.acquire.importing.stream import open_import

MAPPING = {"dataset": "own", "licence": "x", "task": "user_qa", "question": "q", "answer": "a"}


def write(base: Path, source: str, **changes: Any) -> Path:
    (base / "m.yaml").write_text(yaml.safe_dump(MAPPING | {"source": source} | changes))
    return base / "m.yaml"


@given(st.lists(st.lists(st.booleans(), max_size=12), min_size=1, max_size=3), st.integers(1, 5), st.integers(1, 900))
def test_parts_add_up(tmp_path_factory: Any, files: list[list[bool]], group: int, shard: int) -> None:
    base = tmp_path_factory.mktemp("base")
    for number, good in enumerate(files):
        table = pa.table(
            {"q": [f"q{k}" for k in range(len(good))], "a": pa.array(["a" if ok else None for ok in good], pa.string())}
        )
        pq.write_table(table, base / f"{number}.parquet", row_group_size=group)
    mapping = write(base, "*.parquet", validation_fraction=0.3)
    plan = plan_import(mapping, base, shard_bytes=shard)
    account = Account()
    found = [placed for part in plan.parts for placed in part.rows(account)]
    ids = [row.id for _, _, row in found]
    used = [(k, n) for k, good in enumerate(files) for n, ok in enumerate(good, start=1) if ok]
    assert ids == [f"{'line' if len(files) == 1 else k}-{n:06d}" for k, n in used]
    assert [number for _, number, _ in found] == [n for _, n in used]
    assert account.unusable.total() == sum(not ok for good in files for ok in good)
    assert Account.of(json.loads(json.dumps(account.document()))) == account
    if not ids:
        return
    stream = open_import(mapping, base)
    whole = {split: list(rows) for split, rows in stream.splits().items()}
    for split, rows in whole.items():
        assert rows == [row for home, _, row in found if home == split]
    assert stream.unusable == account.unusable
    assert dict(plan.source) == stream.source


def test_a_file_of_lines_is_one_part(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"q": "q", "a": "a"}\n')
    plan = plan_import(write(tmp_path, "a.jsonl"), tmp_path, shard_bytes=10)
    (part,) = plan.parts
    assert part.name == "a.jsonl"
    assert part.place(1) == "line 1 of a.jsonl"
    assert set(part.inputs) == {"mapping", "a.jsonl"}
    (tmp_path / "a.jsonl").write_text('{"q": "q", "a": "b"}\n')
    assert plan_import(write(tmp_path, "a.jsonl"), tmp_path, shard_bytes=10).parts[0].inputs != part.inputs


def test_media_files_are_part_of_the_inputs(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"1" * 500)
    (tmp_path / "a.jsonl").write_text('{"q": "q", "a": "a", "image": "a.png"}\n')
    media = [{"field": "image", "kind": "image"}]
    mapping = write(tmp_path, "a.jsonl", media=media, media_root="images")
    first = plan_import(mapping, tmp_path, shard_bytes=10).parts[0]
    assert first.size > 500
    (tmp_path / "images" / "a.png").write_bytes(b"2" * 501)
    assert plan_import(mapping, tmp_path, shard_bytes=10).parts[0].inputs["media"] != first.inputs["media"]
