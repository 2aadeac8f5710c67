"""A build is a function of its parts: neither workers nor kills change a byte of it."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.processes import all_end, descendants
from trackyard.acquire.importing.account import Account, Example
from trackyard.acquire.importing.parts import plan_import
from trackyard.acquire.importing.records import UnusableRecord
from trackyard.errors import DataError, TrackyardError
from trackyard.row import Media, Row, Turn
from trackyard.snapshot.assembly import LEAST, MOST, joined
from trackyard.snapshot.build import build_dataset, work_directory
from trackyard.snapshot.file_budget import check_file_budget, shard_count
from trackyard.snapshot.manifest import Manifest
from trackyard.snapshot.reader import SnapshotDataset
from trackyard.snapshot.units import units_of
from trackyard.snapshot.verify import verify_dataset


@dataclass
class Source:
    """Rows of a test, as a part."""

    name: str
    given: list[tuple[str, Row]]
    size: int = 1000
    inputs: Mapping[str, str] = field(default_factory=dict)
    bad: int = 0
    problem: Exception | None = None
    read: int = 0

    def rows(self, account: Account) -> Iterator[tuple[str, int, Row]]:
        self.read += 1
        for number in range(self.bad):
            account.leave_out(UnusableRecord("bad", "it is"), Example("", number, "row", "", "it is"))
        for number, (split, row) in enumerate(self.given, start=1):
            account.use()
            yield split, number, row
        if self.problem is not None:
            raise self.problem

    def place(self, number: int) -> str:
        return f"row {number} of {self.name}"


def build(directory: Path, parts: list[Any], **options: Any) -> Manifest:
    given = {"dataset": directory.name, "source": {"from": "tests"}, "licence": "CC0-1.0", "shard_bytes": 20_000}
    return build_dataset(directory, parts, **(given | options))


def ids(directory: Path, split: str = "train") -> list[str]:
    return [row.id for row in SnapshotDataset.open(directory).iterate(split)]


def tree(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.fixture
def parts(make_row: Callable[..., Row]) -> list[Source]:
    """Six parts of five rows; one row in ten is for validation."""
    return [
        Source(
            f"p{k}", [("validation" if n % 10 == 9 else "train", make_row(n)) for n in range(5 * k, 5 * k + 5)], 10_000
        )
        for k in range(6)
    ]


def test_the_rows_come_out_in_the_order_of_the_parts(tmp_path: Path, parts: list[Source]) -> None:
    seen: list[tuple[int, int]] = []
    manifest = build(tmp_path / "d", parts, progress=lambda done, total: seen.append((done, total)))
    assert ids(tmp_path / "d") == [f"row-{n:05d}" for n in range(30) if n % 10 != 9]
    assert manifest.splits == {"train": 27, "validation": 3}
    assert verify_dataset(tmp_path / "d").rows == 30
    assert seen == [(0, 60_000), (20_000, 60_000), (40_000, 60_000), (60_000, 60_000)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d"]  # nothing else is left


def test_what_is_done_survives_an_error(tmp_path: Path, parts: list[Source]) -> None:
    build(tmp_path / "whole" / "d", parts)
    parts[3].problem = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="No space"):
        build(tmp_path / "d", parts)
    assert not (tmp_path / "d").exists()
    assert sorted(path.name for path in (work_directory(tmp_path / "d") / "units").iterdir()) == ["00000"]
    parts[3].problem = None
    read = [part.read for part in parts]
    build(tmp_path / "d", parts)
    assert [part.read - before for part, before in zip(parts, read, strict=True)] == [0, 0, 1, 1, 1, 1]
    assert tree(tmp_path / "d") == tree(tmp_path / "whole" / "d")


@pytest.mark.parametrize("change", ["inputs", "size", "shard_bytes", "licence"])
def test_a_changed_job_begins_anew(tmp_path: Path, parts: list[Source], change: str) -> None:
    parts[3].problem = OSError(errno.EIO, "Input/output error")
    with pytest.raises(OSError, match="error"):
        build(tmp_path / "d", parts)
    parts[3].problem, options = None, {}
    if change == "inputs":
        parts[5].inputs = {"file": "another digest"}
    elif change == "size":
        parts[5].size += 1
    else:
        options = {change: 30_000 if change == "shard_bytes" else "MIT"}
    build(tmp_path / "d", parts, **options)
    assert parts[0].read == 2
    build(tmp_path / "again" / "d", parts, **options)
    assert tree(tmp_path / "d") == tree(tmp_path / "again" / "d")


@pytest.mark.parametrize("name", ["train/part-00000.parquet", "ids.npy", "unit.json"])
def test_a_damaged_unit_is_made_again(tmp_path: Path, parts: list[Source], name: str) -> None:
    build(tmp_path / "whole" / "d", parts)
    parts[5].problem = OSError(errno.EIO, "Input/output error")
    with pytest.raises(OSError, match="error"):
        build(tmp_path / "d", parts)
    path = work_directory(tmp_path / "d") / "units" / "00001" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    parts[5].problem = None
    build(tmp_path / "d", parts)
    assert [part.read for part in parts] == [2, 2, 3, 3, 3, 3]
    assert tree(tmp_path / "d") == tree(tmp_path / "whole" / "d")


def test_two_rows_of_one_id_are_named_with_their_places(
    tmp_path: Path, parts: list[Source], make_row: Callable[..., Row]
) -> None:
    parts[4].given.append(("validation", make_row(7)))
    with pytest.raises(DataError, match="'row-00007' occurs twice in d: row 3 of p1, row 6 of p4"):
        build(tmp_path / "d", parts)
    assert not (tmp_path / "d").exists()


def test_nothing_usable_and_the_budget_of_bad_records(tmp_path: Path, parts: list[Source]) -> None:
    with pytest.raises(DataError, match=r"no usable row \(left out: 3 bad"):
        build(tmp_path / "d", [Source("p", [], bad=3)])
    parts[0].bad = 10
    account = Account()
    with pytest.raises(DataError, match=r"10 of 40 records of d are bad, 25\.00%; the budget is 24\.00%"):
        build(tmp_path / "d", parts, max_bad_records=0.24)
    assert build(tmp_path / "d", parts, max_bad_records=0.25, account=account).exclusions == {"bad": 10}
    assert (account.records, account.bad) == (30, 10)
    assert parts[0].read == 1  # the refusal cost no work
    with pytest.raises(DataError, match="bad: row 0: it is"):
        build(tmp_path / "strict", parts, strict=True)


def test_a_complete_dataset_is_never_touched(tmp_path: Path, parts: list[Source]) -> None:
    build(tmp_path / "d", parts)
    before = tree(tmp_path / "d")
    with pytest.raises(DataError, match="exists already"):
        build(tmp_path / "d", parts)
    assert tree(tmp_path / "d") == before


def test_pain_4_twenty_thousand_samples(tmp_path: Path, make_row: Callable[..., Row]) -> None:
    """Small parts are grouped: not a file per sample, nor a shard per part."""
    row = make_row(0, size=100)
    many = [
        Source(
            f"p{k}",
            [
                ("train", Row(id=f"{k}-{n}", task=row.task, media=row.media, conversations=row.conversations))
                for n in range(40)
            ],
            size=10_000,
        )
        for k in range(500)
    ]
    manifest = build(tmp_path / "d", many, shard_bytes=1_000_000)
    assert manifest.splits == {"train": 20_000}
    expected = shard_count(sum(part.size for part in many), shard_bytes=1_000_000)
    assert expected == 5
    assert len(manifest.files) <= expected
    with pytest.raises(DataError, match="6 files of about 1 MB, 3 are allowed") as caught:
        build(tmp_path / "e", many, shard_bytes=1_000_000, max_files=3)
    assert "--shard-bytes 3000000: 3 files" in caught.value.fix
    assert not list(tmp_path.glob("*e*"))  # refused before anything was written


@pytest.mark.parametrize(
    ("size", "files", "fix"),
    [
        (10_000_000_000, 41, None),
        (10_000_000_000, 40, "--shard-bytes 257000000: 40 files"),
        (10_000_000_000, 11, "--shard-bytes 1000000000: 11 files"),
        (10_000_000_000, 10, "--max-files 11 --shard-bytes 1000000000"),
        (10_000_000_000, 1, "--max-files 11 --shard-bytes 1000000000"),
        (0, 2, None),
    ],
)
def test_the_smallest_change_that_fits(size: int, files: int, fix: str | None) -> None:
    if fix is None:
        check_file_budget("d", size, max_files=files)
        return
    with pytest.raises(DataError) as caught:
        check_file_budget("d", size, max_files=files)
    assert fix in caught.value.fix


@given(st.lists(st.integers(0, 1500), max_size=40))
def test_joined_shards_are_neither_small_nor_large(sizes: list[int]) -> None:
    groups = joined(sizes, 1000)
    assert [k for group in groups for k in group] == list(range(len(sizes)))
    for group in groups:
        total = sum(sizes[k] for k in group)
        assert total <= MOST * 1000 or len(group) == 1
        # 1,500 and the largest small shard stay below MOST, so nothing has an excuse to stay small.
        assert total >= LEAST * 1000 or len(groups) == 1


@given(st.lists(st.integers(0, 300), max_size=60), st.integers(1, 400))
def test_units_fill_a_shard(sizes: list[int], shard: int) -> None:
    sources = [Source(str(k), [], size=size) for k, size in enumerate(sizes)]
    units = units_of(sources, shard)
    assert [part for unit in units for part in unit.parts] == sources
    assert all(unit.size >= shard and unit.size - unit.parts[-1].size < shard for unit in units[:-1])


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
MEDIUM = st.builds(
    Media,
    kind=st.sampled_from(["image", "video"]),
    data=st.binary(max_size=60),
    path=TEXT,
    width=st.integers(1, 2**31 - 1),
    height=st.integers(1, 2**31 - 1),
    frames=st.integers(1, 100),
    fps=st.floats(0, 240),
    duration=st.floats(0, 1e5),
)
PAIR = st.tuples(
    st.builds(Turn, role=st.just("user"), content=TEXT), st.builds(Turn, role=st.just("assistant"), content=TEXT)
)
ROW = st.builds(
    Row,
    id=TEXT.filter(bool),
    task=TEXT.filter(bool),
    media=st.lists(MEDIUM, max_size=3).map(tuple),
    conversations=st.lists(PAIR | st.tuples(PAIR, PAIR).map(lambda two: two[0] + two[1]), min_size=1, max_size=3).map(
        tuple
    ),
    meta=st.dictionaries(st.just("note"), TEXT | st.floats(allow_nan=False, allow_infinity=False), max_size=1),
)


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.sampled_from(["train", "validation"]), ROW), min_size=1, max_size=8, unique_by=lambda x: x[1].id
    )
)
def test_any_rows_come_back_as_they_were(tmp_path_factory: Any, rows: list[tuple[str, Row]]) -> None:
    directory = tmp_path_factory.mktemp("rows") / "d"
    half = len(rows) // 2
    build(directory, [Source("a", rows[:half]), Source("b", rows[half:])], shard_bytes=500)
    opened = SnapshotDataset.open(directory)
    for split in opened.manifest.splits:
        assert list(opened.iterate(split)) == [row for home, row in rows if home == split]
    verify_dataset(directory)


# Real parts, in real processes.


def picture(number: int) -> bytes:
    stream = io.BytesIO()
    Image.effect_noise((40, 30), number + 1).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Tables as the hub has them: three files, row groups of ten, images inside; every eighth image is damaged."""
    base = tmp_path / "base"
    base.mkdir()
    for number in range(3):
        rows = range(40 * number, 40 * number + 40)
        table = pa.table(
            {
                "id": [f"r{k}" for k in rows],
                "image": [{"bytes": b"GIF89a" if k % 8 == 7 else picture(k), "path": f"{k}.png"} for k in rows],
                "qa": [{"question": [f"q{k}", "?"], "answer": [f"a{k}", "!"]} for k in rows],
            }
        )
        pq.write_table(table, base / f"train-{number:05d}-of-00003.parquet", row_group_size=10)
    mapping = {"dataset": "real", "licence": "x", "task": "user_qa", "source": "train-*.parquet", "id": "id"}
    mapping |= {"media": [{"field": "image", "kind": "image"}], "question": "qa.question", "answer": "qa.answer"}
    (base / "m.yaml").write_text(yaml.safe_dump(mapping | {"validation_fraction": 0.2}))
    return base


COMMAND = """
import sys
from pathlib import Path
from trackyard.acquire.importing.parts import plan_import
from trackyard.snapshot.build import build_dataset
base, out, workers = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
plan = plan_import(base / "m.yaml", base, shard_bytes=12_000)
build_dataset(out, plan.parts, dataset=plan.dataset, source=plan.source, licence=plan.licence, workers=workers,
              shard_bytes=12_000, progress=lambda done, total: print(done, total, flush=True))
"""


def start(base: Path, out: Path, workers: int, *, before: str = "") -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", before + COMMAND, str(base), str(out), str(workers)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def here(base: Path, out: Path, *, workers: int = 1) -> Manifest:
    plan = plan_import(base / "m.yaml", base, shard_bytes=12_000)
    named = {"dataset": plan.dataset, "source": plan.source, "licence": plan.licence}
    return build(out, list(plan.parts), **named, workers=workers, shard_bytes=12_000)


def test_workers_change_nothing(base: Path, tmp_path: Path) -> None:
    alone = here(base, tmp_path / "one" / "d")
    assert sum(alone.splits.values()) == 105
    assert alone.exclusions == {"unreadable image": 15}
    done = start(base, tmp_path / "two" / "d", 3)
    _, errors = done.communicate(timeout=60)
    assert done.returncode == 0, errors
    assert tree(tmp_path / "two" / "d") == tree(tmp_path / "one" / "d")


FULL = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))"


def test_a_full_disk_leaves_nothing_torn(base: Path, tmp_path: Path) -> None:
    """A file that cannot grow stands for a disk without room (reliability spec F3)."""
    done = start(base, tmp_path / "d", 1, before=FULL)
    _, errors = done.communicate(timeout=60)
    assert done.returncode == 1
    assert "File too large" in errors
    assert not (tmp_path / "d").exists()
    assert not list(work_directory(tmp_path / "d").rglob("*.parquet"))
    here(base, tmp_path / "d")  # there is room again
    assert verify_dataset(tmp_path / "d").rows == 105


@pytest.mark.system
def test_a_killed_build_is_continued_and_leaves_no_process(base: Path, tmp_path: Path) -> None:
    here(base, tmp_path / "whole" / "d")
    out = tmp_path / "d"
    for kill in (signal.SIGKILL, signal.SIGTERM):
        process = start(base, out, 2)
        assert process.stdout is not None
        begun = int(process.stdout.readline().split()[0])
        line = process.stdout.readline()  # one more part is done
        children = descendants(process.pid)
        process.send_signal(kill)
        process.wait(timeout=30)
        process.stdout.close()
        assert int(line.split()[0]) > begun
        assert not out.exists()
        assert all_end(children, within_s=20)
    kept = len(list((work_directory(out) / "units").glob("0*/unit.json")))
    assert kept >= 2
    done = start(base, out, 2)
    output, errors = done.communicate(timeout=60)
    assert done.returncode == 0, errors
    assert int(output.split()[0]) > 0  # it did not begin at zero
    assert tree(out) == tree(tmp_path / "whole" / "d")


def test_a_worker_that_is_killed_is_named(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trackyard.snapshot import workers

    monkeypatch.setattr(workers, "_work", os.abort)  # it takes no argument, so the worker ends without a word
    with pytest.raises(TrackyardError, match="and no word") as caught:
        here(base, tmp_path / "d", workers=2)
    assert "--workers" in caught.value.fix
    monkeypatch.undo()
    here(base, tmp_path / "d", workers=2)  # negative control


def test_changed_sources_begin_anew(base: Path, tmp_path: Path) -> None:
    plan = plan_import(base / "m.yaml", base, shard_bytes=12_000)
    (base / "m.yaml").write_text((base / "m.yaml").read_text().replace("user_qa", "demo"))
    assert [part.inputs for part in plan_import(base / "m.yaml", base, shard_bytes=12_000).parts] != [
        part.inputs for part in plan.parts
    ]
    names = [part.name for part in plan.parts]
    assert names[0] == "train-00000-of-00003.parquet row groups 0 to 1"
    assert len(names) == len(set(names))
    assert json.dumps(dict(plan.source))
