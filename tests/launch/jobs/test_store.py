"""Graphs on disk: what was written is read again, names are found, damage is told."""

from __future__ import annotations

import json
import multiprocessing
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from tests.launch.jobs.graphs import job, kept
from trackyard.errors import ConfigError, DataError
from trackyard.launch.jobs import store
from trackyard.launch.jobs.store import Ended, Kept, fresh_id, graphs, open_graph

WRITERS, NOTES = 8, 12
DONE = Ended(state="done", exit_code=0, detail="committed", at="2026-01-01T00:00:00+00:00", slurm_id="7")


def test_a_graph_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = kept(tmp_path, job("one"), job("two-a", "one", array="two", index=0), upstream=("none", "one"))
    found = open_graph(tmp_path, "toy-1")
    assert found.graph == written.graph
    assert found.root == tmp_path
    with pytest.raises(FileExistsError):
        kept(tmp_path, job("one"))


def test_a_graph_is_found_by_a_beginning_that_no_other_has(tmp_path: Path) -> None:
    for id in ("stage1-1", "stage1-2", "stage3-3"):
        kept(tmp_path, job("one"), id=id)
    assert [one.graph.id for one in graphs(tmp_path)] == ["stage3-3", "stage1-2", "stage1-1"]
    assert open_graph(tmp_path, None).graph.id == "stage3-3"
    assert open_graph(tmp_path, "stage3").graph.id == "stage3-3"
    with pytest.raises(ConfigError, match="2 graphs begin with 'stage1'") as refused:
        open_graph(tmp_path, "stage1")
    assert refused.value.why == "there are stage1-2, stage1-1"
    with pytest.raises(ConfigError, match="no graph begins with 'x'"):
        open_graph(tmp_path, "x")


def test_an_id_that_is_the_beginning_of_another_is_found(tmp_path: Path) -> None:
    kept(tmp_path, job("one"), id="toy-1")
    kept(tmp_path, job("one"), id="toy-12")
    assert open_graph(tmp_path, "toy-1").graph.id == "toy-1"


def test_no_graph_at_all_is_told(tmp_path: Path) -> None:
    assert graphs(tmp_path) == []
    with pytest.raises(ConfigError, match="there is no graph"):
        open_graph(tmp_path, None)


def test_what_happens_is_noted_in_its_order(tmp_path: Path) -> None:
    found = kept(tmp_path, job("one"))
    assert (found.submissions("one"), found.attempts("one"), found.ended("one")) == ([], [], None)
    found.note_submitted("one", "7")
    found.note_submitted("one", "9")
    found.note_attempt("one", event="began", life=1)
    found.note_ended("one", DONE)
    again = open_graph(tmp_path, None)
    assert [line["slurm_id"] for line in again.submissions("one")] == ["7", "9"]
    assert again.times_submitted("one") == 2
    assert [(line["event"], line["life"], "at" in line) for line in again.attempts("one")] == [("began", 1, True)]
    assert again.ended("one") == DONE
    assert DONE.well


def test_no_note_is_lost_among_many_writers(tmp_path: Path) -> None:
    """A submission, a cancellation and a dying job note at the same time, on whatever nodes."""
    found = kept(tmp_path, job("one"))
    fork = multiprocessing.get_context("fork")
    start = fork.Barrier(WRITERS)
    writers = [fork.Process(target=_write, args=(found, number, start)) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert [writer.exitcode for writer in writers] == [0] * WRITERS
    noted = [(line["slurm_id"], line["life"]) for line in found.attempts("one")]
    assert sorted(noted) == [(str(number), life) for number in range(WRITERS) for life in range(NOTES)]
    for number in range(WRITERS):
        assert [life for who, life in noted if who == str(number)] == list(range(NOTES)), "each in its own order"
    found.note_attempt("one", event="last", slurm_id="x")
    assert found.attempts("one")[-1]["event"] == "last"


def test_a_note_comes_behind_what_its_writer_has_seen_though_its_clock_is_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = kept(tmp_path, job("one"))
    found.note_attempt("one", event="began")
    monkeypatch.setattr(store.time, "time_ns", lambda: 5)
    found.note_attempt("one", event="ended")
    found.note_attempt("one", event="cancelled")
    assert [line["event"] for line in found.attempts("one")] == ["began", "ended", "cancelled"]


def test_half_a_note_is_none(tmp_path: Path) -> None:
    found = kept(tmp_path, job("one"))
    found.note_submitted("one", "7")
    (path,) = (found.folder("one") / "submitted").iterdir()
    path.with_name(f".partial-{path.name}.1.1").write_text("{")
    assert found.times_submitted("one") == 1


def _write(found: Kept, number: int, start: Barrier) -> None:
    start.wait(60)
    for life in range(NOTES):
        found.note_attempt("one", event="began", slurm_id=str(number), life=life)


def test_tasks_of_an_array_have_the_submissions_that_they_were_in(tmp_path: Path) -> None:
    found = kept(tmp_path, *(job(f"two-{index}", array="two", index=index) for index in range(3)))
    found.note_submitted("two", "7", [0, 1, 2])
    found.note_submitted("two", "9", [1])
    assert [line["slurm_id"] for line in found.submissions("two-1")] == ["7_1", "9_1"]
    assert [line["slurm_id"] for line in found.submissions("two-2")] == ["7_2"]
    assert found.log("two-1") == tmp_path / "runs" / "jobs" / "toy-1" / "two" / "log-1.txt"
    assert found.folder("two-1") != found.folder("two")


def test_damage_is_told_and_not_read_as_nothing(tmp_path: Path) -> None:
    found = kept(tmp_path, job("one"))
    found.note_submitted("one", "7")
    (path,) = (found.folder("one") / "submitted").iterdir()
    path.write_text(path.read_text()[:-10])
    with pytest.raises(DataError, match="is damaged"):
        found.submissions("one")
    found.note_ended("one", DONE)
    (found.folder("one") / "ended.json").write_text("{")
    with pytest.raises(DataError):
        found.ended("one")
    body = json.loads((found.path / "graph.json").read_text())
    del body["jobs"][0]["command"]
    (found.path / "graph.json").write_text(json.dumps(body))
    with pytest.raises(DataError, match="is damaged"):
        open_graph(tmp_path, "toy-1")


@pytest.mark.parametrize(
    ("target", "begins"),
    [
        ("stage3", "stage3-"),
        ("pipelines/pile_ffn/dvc.yaml", "pile-ffn-"),
        ("pipelines/pile_ffn/dvc.yaml:train@baseline-42", "pile-ffn-dvc-yaml-train"),
        ("...", "graph-"),
    ],
)
def test_an_id_says_what_the_graph_is_about(target: str, begins: str) -> None:
    assert fresh_id(target).startswith(begins)
    assert fresh_id(target) != fresh_id(target)
