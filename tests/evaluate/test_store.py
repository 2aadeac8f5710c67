"""The store: the same bytes whatever processes, kills and orders its records came by."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluate.recorded import AGAIN, IDS, KEY, latency, name, sample, store
from trackyard.errors import DataError
from trackyard.evaluate.records import Latency, Sample
from trackyard.evaluate.store import Store, read_records

ROOT = Path(__file__).parents[2]


def fill(held: Store[Sample], numbers: Sequence[int], label: str = "") -> Path:
    with held.writer(label) as writer:
        for number in numbers:
            writer.append(sample(number))
    return next(iter(sorted(held.folder.glob("part-*"), key=lambda path: path.stat().st_mtime_ns, reverse=True)))


@pytest.fixture
def undisturbed(tmp_path: Path) -> bytes:
    held = store(tmp_path / "undisturbed")
    fill(held, range(60))
    held.finalise(tmp_path / "undisturbed.jsonl")
    return (tmp_path / "undisturbed.jsonl").read_bytes()


CHILD = """
import random, sys
from pathlib import Path
from tests.evaluate.recorded import IDS, sample, store
folder, seed, part, parts, most = sys.argv[1:]
held = store(Path(folder))
chance = random.Random(seed)
print("go", flush=True)
with held.writer("child") as writer:
    missing = held.missing(IDS[int(part) :: int(parts)])
    chance.shuffle(missing)
    for done, id in enumerate(missing):
        if done == int(most):
            sys.stdin.readline()
        writer.append(sample(int(id.rsplit(":", 1)[1])))
        if done == 0 or chance.random() < 0.3:
            writer.flush()
        print(done, flush=True)
"""


def child(folder: Path, seed: str, *, part: int = 0, parts: int = 1, most: int = -1) -> subprocess.Popen[str]:
    """A process that appends what is missing, and waits for its end after `most` records."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "OMP_NUM_THREADS": "1"}
    argv = [sys.executable, "-c", CHILD, str(folder), seed, str(part), str(parts), str(most)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen(argv, env=environment, start_new_session=True, **pipes)
    assert process.stdout is not None
    assert process.stdout.readline() == "go\n"
    return process


@pytest.mark.system
def test_killed_ten_times_at_random_then_completed(tmp_path: Path, undisturbed: bytes) -> None:
    folder, chance = tmp_path / "store", random.Random(8)
    left = [60]
    for attempt in range(10):
        process = child(folder, str(attempt), most=5)
        assert process.stdout is not None
        for _ in range(chance.randint(1, 5)):
            process.stdout.readline()
        time.sleep(chance.uniform(0.0, 0.002))
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        left.append(len(store(folder).missing()))
    assert all(after < before for before, after in pairwise(left)), "what was flushed stays"
    assert left[-1] > 60 - 50, "what was not flushed is lost, and found to be"
    # A kill within a write is too rare to wait for: the last line is cut as it would be.
    last = max(folder.glob("part-*"), key=lambda path: path.stat().st_mtime_ns)
    os.truncate(last, last.stat().st_size - 20)
    assert len(store(folder).missing()) == left[-1] + 1
    with pytest.raises(DataError, match="lacks"):
        store(folder).finalise(tmp_path / "early.jsonl")
    process = child(folder, "last")
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert store(folder).finalise(tmp_path / "final.jsonl").cut >= 1
    assert (tmp_path / "final.jsonl").read_bytes() == undisturbed


@pytest.mark.system
@pytest.mark.parametrize("parts", [2, 3])
def test_several_processes_at_once_equal_one(tmp_path: Path, undisturbed: bytes, parts: int) -> None:
    processes = [child(tmp_path / "store", str(part), part=part, parts=parts) for part in range(parts)]
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    store(tmp_path / "store").finalise(tmp_path / "final.jsonl")
    assert (tmp_path / "final.jsonl").read_bytes() == undisturbed


def test_a_truncated_file_is_detected_and_redone(tmp_path: Path, undisturbed: bytes) -> None:
    held = store(tmp_path / "store")
    path = fill(held, range(60))
    whole = path.read_bytes()
    for size in (len(whole) - 1, len(whole) - 40, len(whole) // 2, 1, 0):
        path.write_bytes(whole[:size])
        found = held.found()
        assert found.cut == int(not whole[:size].endswith(b"\n") and size > 0)
        missing = held.missing()
        assert len(missing) == 60 - whole[:size].count(b"\n")
        assert missing == IDS[60 - len(missing) :]
    path.write_bytes(whole[: len(whole) // 2])
    fill(held, [int(each.rsplit(":", 1)[1]) for each in held.missing()])
    held.finalise(tmp_path / "final.jsonl")
    assert (tmp_path / "final.jsonl").read_bytes() == undisturbed


def test_a_line_of_zeros_is_done_again(tmp_path: Path) -> None:
    held = store(tmp_path)
    path = fill(held, range(60))
    lines = path.read_bytes().split(b"\n")
    lines[7] = b"\0" * len(lines[7])
    path.write_bytes(b"\n".join(lines))
    assert held.found().cut == 1
    assert held.missing() == [name(7)]


@settings(max_examples=25)
@given(st.permutations(range(60)), st.lists(st.integers(0, 59), max_size=20))
def test_any_order_and_any_repetition_gives_the_same_bytes(order: list[int], repeated: list[int]) -> None:
    with tempfile.TemporaryDirectory() as place:
        held = store(Path(place) / "store")
        fill(held, order[:25], "one")
        fill(held, [*order[25:], *repeated], "two")
        found = held.finalise(Path(place) / "final.jsonl")
        assert len(found.records) == 60
        assert list(read_records(Path(place) / "final.jsonl", Sample)) == [
            sample(number) for number in sorted(range(60), key=name)
        ]


def test_other_content_of_one_id_is_named(tmp_path: Path) -> None:
    held = store(tmp_path)
    fill(held, range(60))
    with held.writer() as writer:
        writer.append(sample(12, pred="something else"))
    with pytest.raises(DataError, match="text_vqa:validation:12 was measured twice, and not alike"):
        held.found()


def test_what_failed_is_done_until_it_is_tried_again(tmp_path: Path) -> None:
    held = store(tmp_path)
    fill(held, range(59))
    for error in ("out of memory", "no image"):
        with held.writer() as writer:
            writer.append(sample(59, pred="", score={}, status="failed", error=error))
    assert held.missing() == []
    assert held.missing(failed=True) == [name(59)]
    # Whichever file is read first, one of the two is kept.
    assert held.found().records[name(59)].error == "no image"
    held.finalise(tmp_path / "with-failure.jsonl")
    assert b'"status":"failed"' in (tmp_path / "with-failure.jsonl").read_bytes()
    fill(held, [59])
    assert held.missing(failed=True) == []
    assert held.found().records[name(59)] == sample(59)
    held.finalise(tmp_path / "after.jsonl")
    assert b'"status":"failed"' not in (tmp_path / "after.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("other", "named"),
    [({"key": "d" * 64}, "key"), ({"task": "t2"}, "about"), ({"ids": IDS[:-1]}, "ids")],
)
def test_a_folder_about_something_else_is_refused(tmp_path: Path, other: dict[str, Any], named: str) -> None:
    store(tmp_path)
    store(tmp_path, ids=IDS[::-1])  # the same questions in another order
    with pytest.raises(DataError, match=f"something else: other {named}\n") as error:
        store(tmp_path, **other)
    assert AGAIN in error.value.fix
    with pytest.raises(DataError, match="other records\n"):
        Store(tmp_path, Latency, key=KEY, about={"task": "t1"}, ids=IDS, again=AGAIN)


def test_of_claims_made_at_once_one_holds(tmp_path: Path) -> None:
    outcomes: list[str] = []
    start = threading.Barrier(8)

    def claim(number: int) -> None:
        start.wait()
        try:
            store(tmp_path / "store", task=f"t{number}")
            outcomes.append("held")
        except DataError as error:
            outcomes.append(error.what.rsplit(" ", 1)[1])

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["about"] * 7 + ["held"]
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["about.json"]


def test_records_that_do_not_belong_are_refused(tmp_path: Path) -> None:
    held = store(tmp_path / "store")
    with held.writer() as writer:
        for stranger in (sample(60), sample(1, key="d" * 64)):
            with pytest.raises(DataError, match="a record of"):
                writer.append(stranger)
    fill(store(tmp_path / "other", ids=[*IDS, name(60)]), [60]).rename(tmp_path / "store" / "part-other.jsonl")
    with pytest.raises(DataError, match=r"part-other\.jsonl: a record of text_vqa:validation:60"):
        held.found()


def test_an_id_that_is_expected_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 of 61 expected ids are there twice"):
        store(tmp_path, ids=[*IDS, IDS[0]])


def test_what_is_missing_is_named_before_anything_is_written(tmp_path: Path) -> None:
    held = store(tmp_path)
    fill(held, range(50))
    with pytest.raises(DataError, match=r"lacks 10 of 60 samples: text_vqa:validation:50, .*:54 …\n") as error:
        held.finalise(tmp_path / "final.jsonl")
    assert error.value.fix == AGAIN
    assert not (tmp_path / "final.jsonl").exists()
    assert len(held.finalise(tmp_path / "final.jsonl", partial=True).records) == 50


def test_warm_up_does_not_count_and_is_kept(tmp_path: Path) -> None:
    held = Store(tmp_path, Latency, key=KEY, about={}, ids=IDS[:2], again=AGAIN)
    with held.writer() as writer:
        for record in (latency(0, warmup=True), latency(0, warmup=True, t_pre_ms=8.0), latency(1)):
            writer.append(record)
    assert held.missing() == [name(0)]
    with held.writer() as writer:
        writer.append(latency(0, t_pre_ms=0.5, valid=False))
        writer.append(latency(0))
    found = held.finalise(tmp_path / "final.jsonl")
    assert len(found.others) == 2
    lines = list(read_records(tmp_path / "final.jsonl", Latency))
    assert [(each.id, each.warmup, each.valid) for each in lines] == [
        (name(0), False, True),
        (name(0), True, True),
        (name(0), True, True),
        (name(1), False, True),
    ]


def test_a_finished_file_that_was_cut_or_altered_is_refused(tmp_path: Path) -> None:
    held = store(tmp_path)
    fill(held, range(60))
    path = tmp_path / "final.jsonl"
    held.finalise(path)
    whole = path.read_bytes()
    assert len(list(read_records(path, Sample))) == 60
    path.write_bytes(whole[:-3])
    with pytest.raises(DataError, match="ends within a line"):
        list(read_records(path, Sample))
    path.write_bytes(b"junk\n" + whole)
    with pytest.raises(DataError, match="no JSON"):
        list(read_records(path, Sample))
    with pytest.raises(DataError, match="does not exist"):
        list(read_records(tmp_path / "other.jsonl", Sample))


def test_lines_tell_nothing_of_when_and_where(tmp_path: Path) -> None:
    text = fill(store(tmp_path), range(60), "1-of-4").read_text()
    told = (os.uname().nodename, str(os.getpid()), time.strftime("%Y-%m-%d"), "1-of-4")
    assert not any(word in text for word in told)
