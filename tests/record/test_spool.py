"""The spool keeps everything that reached it, in order and readable, through kills and full disks; secrets never."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackyard.errors import EnvironmentLacking, TrackyardError
from trackyard.record import spool as module
from trackyard.record.rundir import Attempt
from trackyard.record.spool import FLUSH_LINES, Spool, read_spool

FIRST = Attempt(number=1, host="h", pid=1, started="2026-01-01T00:00:00+00:00")


def events(path: Path) -> list[dict[str, Any]]:
    part = read_spool(path)
    assert (part.torn, part.damaged) == (0, 0)
    return [event for _, event in part.events]


def test_every_kind_of_event_is_kept_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_now_ms", lambda: 1700000000123)
    with Spool(tmp_path, FIRST) as spool:
        spool.status("running")
        spool.tag("note", "ü")
        spool.dataset("charts", "b" * 64, "hub:x@1", "training")
        spool.metrics({"loss": np.float32(0.5), "tokens": 12}, np.int64(3))  # type: ignore[arg-type]
        spool.artifact("figures/loss.png")
        spool.status("finished")
    assert spool.path.name == "attempt-0001.jsonl"
    assert events(spool.path) == [
        {"event": "status", "state": "running", "timestamp": 1700000000123},
        {"event": "tag", "values": {"note": "ü"}},
        {"event": "dataset", "name": "charts", "digest": "b" * 64, "source": "hub:x@1", "context": "training"},
        {"event": "metrics", "step": 3, "timestamp": 1700000000123, "values": {"loss": 0.5, "tokens": 12.0}},
        {"event": "artifact", "path": "figures/loss.png"},
        {"event": "status", "state": "finished", "timestamp": 1700000000123},
    ]


@settings(deadline=None)
@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=50))
def test_numbers_come_back_to_the_bit(tmp_path_factory: pytest.TempPathFactory, values: list[float]) -> None:
    with Spool(tmp_path_factory.mktemp("spool"), FIRST) as spool:
        for step, value in enumerate(values):
            spool.metrics({"x": value}, step)
    assert [(event["step"], event["values"]["x"]) for event in events(spool.path)] == list(enumerate(values))


def test_values_that_are_not_finite_are_events_not_gaps(tmp_path: Path) -> None:
    with Spool(tmp_path, FIRST) as spool:
        spool.metrics({"a": float("nan"), "b": 1.0, "c": float("-inf")}, 5)
    kept = [(event["event"], event["step"], event["values"]) for event in events(spool.path)]
    assert kept == [("metrics", 5, {"b": 1.0}), ("nonfinite", 5, {"a": "nan", "c": "-inf"})]


def test_a_text_that_is_none_is_kept_as_far_as_it_is_one(tmp_path: Path) -> None:
    with Spool(tmp_path, FIRST) as spool:
        spool.tag("mlflow.user", os.fsdecode(b"j\xf6rg"))
        spool.tag("note", "a\u2028b\x00\n")
    assert [event["values"] for event in events(spool.path)] == [{"mlflow.user": "j?rg"}, {"note": "a\u2028b\x00\n"}]


def test_lines_reach_the_disk_without_being_asked(tmp_path: Path) -> None:
    spool = Spool(tmp_path, FIRST)
    for step in range(FLUSH_LINES - 1):
        spool.metrics({"x": 1.0}, step)
    assert spool.path.read_bytes() == b""
    spool.metrics({"x": 1.0}, FLUSH_LINES - 1)
    assert len(events(spool.path)) == FLUSH_LINES
    spool.metrics({"x": 1.0}, FLUSH_LINES)
    spool.flush()
    assert len(events(spool.path)) == FLUSH_LINES + 1
    spool.close()


def test_one_attempt_has_one_writer(tmp_path: Path) -> None:
    with Spool(tmp_path, FIRST), pytest.raises(TrackyardError, match="exists already"):
        Spool(tmp_path, FIRST)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentLacking, match="cannot be made"):
        Spool(tmp_path / "file", FIRST)


WRITE = """
import sys
from pathlib import Path
from trackyard.record.rundir import Attempt
from trackyard.record.spool import Spool
spool = Spool(Path(sys.argv[1]), Attempt(number=1, host="h", pid=1, started=""))
for step in range(10**9):
    spool.metrics({f"metric {k}": step / 7 for k in range(10)}, step)
    if step % 100 == 0:
        spool.flush()
        print(step, flush=True)
"""


def test_a_kill_costs_nothing_that_was_flushed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITE, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        flushed = [int(process.stdout.readline()) for _ in range(20)][-1]
        process.send_signal(signal.SIGKILL)
    part = read_spool(tmp_path / "attempt-0001.jsonl")
    steps = [event["step"] for _, event in part.events]
    assert steps == list(range(len(steps)))
    assert steps[-1] >= flushed
    assert part.damaged == 0


@settings(deadline=None)
@given(cut=st.integers(min_value=0, max_value=400))
def test_a_torn_last_line_is_counted_and_ignored(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    folder = tmp_path_factory.mktemp("spool")
    with Spool(folder, FIRST) as spool:
        for step in range(5):
            spool.metrics({"x": 1.5}, step)
    data = spool.path.read_bytes()
    spool.path.write_bytes(data[:cut])
    part = read_spool(spool.path)
    whole = data[:cut].count(b"\n")
    assert [event["step"] for _, event in part.events] == list(range(whole))
    assert part.torn == int(not data[:cut].endswith(b"\n") and cut > 0)
    assert part.end == (part.events[-1][0] if part.events else 0)
    # What a live writer completes later is then read from where the last reading ended.
    spool.path.write_bytes(data)
    assert [event["step"] for end, event in read_spool(spool.path).events if end > part.end] == list(range(whole, 5))


def test_a_page_of_zeros_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "attempt-0001.jsonl"
    path.write_bytes(b'{"event":"tag","values":{}}\n' + b"\0" * 64 + b"\n[1]\n" + b'{"event":"tag","values":{}}\n')
    part = read_spool(path)
    assert (len(part.events), part.damaged, part.torn) == (2, 2, 0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_loses_nothing(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    (small_disk / "fill").write_bytes(b"x" * 49152)
    spool = Spool(small_disk, FIRST)
    for step in range(200):
        spool.metrics({f"metric {k}": float(step) for k in range(10)}, step)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    with pytest.raises(TrackyardError, match="No space left") as raised:
        spool.flush()
    assert raised.value.fix.startswith("free space")
    (small_disk / "fill").unlink()
    for step in range(200, 220):
        spool.metrics({"x": float(step)}, step)
    spool.close()
    assert [event["step"] for event in events(spool.path)] == list(range(220))


def test_a_disk_that_stays_full_stops_the_run_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    spool = Spool(tmp_path, FIRST)
    monkeypatch.setattr(module, "MOST_PENDING", 10_000)

    def refuse(handle: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", refuse)

    def train() -> None:
        for step in range(10_000):
            spool.metrics({"x": 1.0}, step)

    with pytest.raises(TrackyardError, match="bytes not written"):
        train()


def test_no_secret_reaches_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    canary = "hf_" + "Zz9" * 12
    monkeypatch.setenv("MY_ACCESS_TOKEN", "plain canary value")
    with Spool(tmp_path, FIRST) as spool:
        for secret in (canary, "plain canary value"):
            spool.tag(secret, f"error: {secret}")
            spool.dataset("d", "0", f"https://u:{secret}@example.org/d", "training")
            spool.artifact(f"{secret}.txt")
            spool.metrics({secret: 1.0, f"{secret}/nan": float("nan")}, 1)
    text = spool.path.read_text()
    assert len(text.splitlines()) == 10
    assert canary not in text
    assert "plain canary value" not in text
    assert "[redacted]" in text


def test_a_line_is_json(tmp_path: Path) -> None:
    with Spool(tmp_path, FIRST) as spool:
        spool.tag("text", "x\ny")
    assert json.loads(spool.path.read_text())["values"] == {"text": "x\ny"}
