"""The stage of latency: what is timed is complete, adds up, comes from one kind of machine, and is what was scored."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.recipes.nine.tiny_nine import TASKS, Told, silent, study_at, tiny_study
from trackyard.digest import canonical_json
from trackyard.errors import ConfigError, DataError, TrackyardError
from trackyard.evaluate.latency import timing
from trackyard.evaluate.records import Latency
from trackyard.evaluate.store import RecordWriter, read_records
from trackyard.recipes.nine.report.comparing import compare
from trackyard.recipes.nine.results import read_result
from trackyard.recipes.nine.study import Study
from trackyard.recipes.nine.sweeping import latency as stage
from trackyard.recipes.nine.sweeping.accuracy import accuracy
from trackyard.recipes.nine.sweeping.latency import SCHEMA, SUMMARY, TIMES, latency
from trackyard.recipes.nine.sweeping.machine_notes import PREFIX
from trackyard.recipes.nine.sweeping.machine_notes import SCHEMA as NOTE
from trackyard.recipes.nine.sweeping.opening import open_sweep
from trackyard.recipes.nine.sweeping.scored import SAMPLES
from trackyard.recipes.parts import WHOLE, Part, alone
from trackyard.sealed import read_sealed, write_sealed

CONFIGURATIONS, SAMPLES_TIMED, WARM = 4, 2, 3


@pytest.fixture(autouse=True, scope="module")
def busy_machine() -> Iterator[None]:
    """Others take the processor between the parts of a time: it counts all the same, or each run had other attempts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing, "LEAST_TOLERANCE_MS", 1e6)
        yield


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Study:
    study = tiny_study(tmp_path_factory.mktemp("scored"))
    accuracy(study, None, silent)
    return study


@pytest.fixture(scope="module")
def timed(scored: Study, tmp_path_factory: pytest.TempPathFactory) -> Study:
    study = copied(scored, tmp_path_factory.mktemp("timed"))
    latency(study, None, silent)
    return study


def copied(study: Study, root: Path, changes: Mapping[str, Any] | None = None) -> Study:
    shutil.copytree(study.root, root, dirs_exist_ok=True)
    return study_at(root, changes)


def times(study: Study) -> dict[tuple[str, str], list[Latency]]:
    return {
        (key, name): list(read_records(study.place("latency", key, name) / TIMES, Latency))
        for key in open_sweep(study).keys
        for name in TASKS
    }


def test_every_configuration_is_timed_on_the_same_questions_after_a_warm_up(timed: Study) -> None:
    chosen = read_result(timed.document("sweep"), "sweep").body["latency"]
    for (_, name), records in times(timed).items():
        counted = [record for record in records if not record.warmup]
        assert {record.id for record in counted} == set(chosen[name])
        assert len(counted) == SAMPLES_TIMED
    for key in open_sweep(timed).keys:
        warmed = sum(record.warmup for name in TASKS for record in times(timed)[key, name])
        assert warmed >= WARM
    body = read_result(timed.document("latency"), "latency").body
    assert (body["timed"], body["different"]) == (CONFIGURATIONS * len(TASKS) * SAMPLES_TIMED, 0)
    assert body["ending"] == "natural"


def test_the_parts_make_up_the_whole_and_the_answers_are_those_scored(timed: Study) -> None:
    lengths: dict[tuple[str, str, str], int] = {}
    whole: list[bool] = []
    for (key, name), records in times(timed).items():
        path = timed.place("accuracy", key, name) / SAMPLES
        lengths |= {(key, name, one["id"]): one["n_out"] for one in map(json.loads, path.read_text().splitlines())}
        for record in records:
            parts = record.t_vision_ms + record.t_prefill_ms + record.t_decode_ms
            assert 0 < parts <= record.t_total_ms * (1 + 1e-9)
            whole.append(record.t_total_ms - parts <= max(1.0, timing.TOLERANCE * record.t_total_ms))
            assert record.n_out == lengths[key, name, record.id]
            assert (record.t_decode_ms == 0) is (record.n_out == 1)
            assert min(record.t_vision_ms, record.t_prefill_ms, record.t_pre_ms) > 0
            assert 0 < record.n_visual < record.n_prompt
    assert sum(whole) > len(whole) / 2, "a busy machine takes some of them apart, not most"


def test_summaries_are_of_what_counts(timed: Study) -> None:
    for (key, name), records in times(timed).items():
        body = read_sealed(timed.place("latency", key, name) / SUMMARY, SCHEMA, fix="-")
        counted = [record for record in records if not record.warmup and record.valid]
        assert (body["key"], body["dataset"], body["counted"]) == (key, name, len(counted))
        assert body["warmup"] == sum(record.warmup for record in records)
        if counted:
            whole = sorted(record.t_total_ms for record in counted)
            assert body["parts"]["total"]["min"] == pytest.approx(whole[0])
            assert whole[0] <= body["parts"]["total"]["p50"] <= whole[-1]


def test_a_timed_question_without_its_scored_answer_is_refused(scored: Study, tmp_path: Path) -> None:
    study = copied(scored, tmp_path)
    key, name = open_sweep(study).keys[0], next(iter(TASKS))
    path = study.place("accuracy", key, name) / SAMPLES
    lost = read_result(study.document("sweep"), "sweep").body["latency"][name][0]
    kept = [line for line in path.read_text().splitlines(keepends=True) if json.loads(line)["id"] != lost]
    path.write_text("".join(kept))
    with pytest.raises(DataError, match=f"lacks 1 of the answers that are timed, {lost} first"):
        latency(study, None, silent)


def test_a_second_run_times_nothing(timed: Study, tmp_path: Path) -> None:
    study, told = copied(timed, tmp_path), Told()
    before = {path: path.read_bytes() for path in (study.store / "latency").rglob("*.json*")}
    latency(study, None, told)
    assert [line.split()[0] for line in told] == ["complete"]
    assert {path: path.read_bytes() for path in (study.store / "latency").rglob("*.json*")} == before


def test_parts_time_configurations_apart_and_together_all(scored: Study, tmp_path: Path) -> None:
    study, told = copied(scored, tmp_path), Told()
    latency(study, "1/3", told)
    assert [line.split("(")[1] for line in told] == ["1 of 4)"]
    assert not study.document("latency").exists()
    latency(study, "0/3", told)
    latency(study, "2/3", told)
    assert len(told) == CONFIGURATIONS
    last = Told()
    latency(study, None, last)
    assert len(last) == 1
    notes = [len(list(path.glob(f"{PREFIX}*"))) for path in (study.store / "latency").glob("*/*")]
    assert notes == [1] * CONFIGURATIONS * len(TASKS)


def test_what_a_kill_left_out_is_timed_after_a_warm_up_of_its_own(timed: Study, tmp_path: Path) -> None:
    study = copied(timed, tmp_path)
    path = sorted((study.store / "latency").rglob("part-*"))[0]
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]) + lines[-1][:-30])
    told = Told()
    latency(study, None, told)
    assert "1 answers timed" in told[0]
    assert read_result(study.document("latency"), "latency").body["timed"] == CONFIGURATIONS * len(TASKS) * 2
    assert len(list(path.parent.glob(f"{PREFIX}*"))) == 2
    added = next(other for other in path.parent.glob("part-*") if other != path)
    assert sum(json.loads(line)["warmup"] for line in added.read_text().splitlines()) >= WARM


def test_times_that_are_missing_are_named(timed: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = copied(timed, tmp_path)
    path = sorted((study.store / "latency").rglob("part-*"))[0]
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]))
    monkeypatch.setattr(stage._Run, "measure", lambda run, key: 0)
    with pytest.raises(DataError, match=f"lacks 1 of 2 samples: {json.loads(lines[-1])['id']}") as refused:
        latency(study, None, silent)
    assert refused.value.fix == "trackyard run nine latency"
    assert not study.document("latency").exists()


def tampered(study: Study) -> tuple[str, str]:
    """Another scored answer to a question that is timed; the key and the question."""
    key, name = open_sweep(study).keys[0], TASKS[0]
    victim = read_result(study.document("sweep"), "sweep").body["latency"][name][0]
    path = study.place("accuracy", key, name) / SAMPLES
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines = [line | {"pred": "another answer"} if line["id"] == victim else line for line in lines]
    path.write_bytes(b"".join(canonical_json(line) + b"\n" for line in lines))
    return key, victim


def test_an_answer_that_differs_from_the_scored_one_is_refused(scored: Study, tmp_path: Path) -> None:
    """And noted for good: another run does not forget it."""
    study = copied(scored, tmp_path)
    key, victim = tampered(study)
    for _ in range(2):
        with pytest.raises(DataError, match=f"1 of 16 single answers are not those .*{victim} under .*{key[:12]}"):
            latency(study, None, silent)
        assert not study.document("latency").exists()


def test_a_kill_between_note_and_time_loses_no_difference(
    scored: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = copied(scored, tmp_path)
    _, victim = tampered(study)
    append = RecordWriter.append

    def killed(writer: Any, record: Any) -> None:
        if not record.warmup:
            raise KeyboardInterrupt
        append(writer, record)

    with monkeypatch.context() as patch:
        patch.setattr(RecordWriter, "append", killed)
        with pytest.raises(KeyboardInterrupt):
            latency(study, None, silent)
    (note,) = (study.store / "latency").rglob(f"{PREFIX}*")
    assert read_sealed(note, NOTE, fix="-")["different"] == [victim]
    # It is timed again, noted again, and counts once.
    with pytest.raises(DataError, match="1 of 16 single answers"):
        latency(study, None, silent)


@pytest.mark.parametrize(
    ("precision", "different", "timed", "passes"),
    [("fp32", 0, 100, True), ("fp32", 1, 10_000, False), ("bf16", 1, 200, True), ("bf16", 1, 199, False)],
)
def test_how_many_answers_may_differ(precision: str, different: int, timed: int, passes: bool) -> None:
    """Spec section 6: none in fp32, 0.5 % in bf16."""
    found = [("k" * 12, f"a:b:{number}") for number in range(different)]
    if passes:
        stage._refuse_different(found, timed, precision)
        return
    with pytest.raises(DataError, match=f"{different} of {timed:,} single answers"):
        stage._refuse_different(found, timed, precision)


def test_forced_answers_are_of_one_length_and_another_measurement(timed: Study, tmp_path: Path) -> None:
    study = copied(timed, tmp_path, {"latency.ending": "forced", "latency.forced_tokens": 3})
    latency(study, None, silent)
    assert {record.n_out for records in times(study).values() for record in records} == {3}
    assert read_result(study.document("latency"), "latency").body["ending"] == "forced"


def altered_machine(study: Study, change: Callable[[dict[str, Any]], None]) -> None:
    path = sorted((study.store / "latency").rglob(f"{PREFIX}*"))[0]
    body = read_sealed(path, NOTE, fix="-")
    change(body["circumstances"])
    write_sealed(path, NOTE, body)


@pytest.mark.parametrize("change", [{"kind": "cuda", "device": "NVIDIA H100"}, {"device": "another processor"}])
def test_two_kinds_of_machine_are_refused(timed: Study, tmp_path: Path, change: dict[str, str]) -> None:
    study = copied(timed, tmp_path)
    altered_machine(study, lambda machine: machine.update(change))
    with pytest.raises(DataError, match=f"of 2 devices are to be put together: .*{change['device']}"):
        latency(study, None, silent)
    assert not study.document("latency").exists()


def test_what_else_ran_is_told(timed: Study, tmp_path: Path) -> None:
    study = copied(timed, tmp_path)
    altered_machine(study, lambda machine: machine.update(load_1min=31.0, cores=2))
    latency(study, None, silent)
    assert "load 31.0 on 2 cores" in read_result(study.document("latency"), "latency").body["busy"]


def test_compare_takes_what_is_whole_and_names_what_is_not(timed: Study, tmp_path: Path) -> None:
    study = copied(timed, tmp_path)
    victim = open_sweep(study).keys[2]
    shutil.rmtree(study.place("accuracy", victim, TASKS[1]))
    with pytest.raises(DataError, match=f"{TASKS[1]} has 3 of 4 configurations; missing: {victim[:12]}"):
        compare(study, silent)
    assert not (study.artifacts / "results").exists()


@pytest.mark.parametrize("kind", ["accuracy", "latency"])
def test_compare_refuses_a_sample_that_was_taken_out(timed: Study, tmp_path: Path, kind: str) -> None:
    study = copied(timed, tmp_path)
    key = open_sweep(study).keys[1]
    if kind == "accuracy":
        path = study.place(kind, key, TASKS[0]) / SAMPLES
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[1:]))
        expected = f"{TASKS[0]} under configuration {key[:12]} has 5 of 6 samples .*{json.loads(lines[0])['id']}"
    else:
        path = study.place(kind, key, TASKS[0]) / SUMMARY
        path.write_text(path.read_text().replace('"counted": 2', '"counted": 1').replace('"warmup"', '"warm"', 1))
        expected = f"{SUMMARY} was altered"
    with pytest.raises(DataError, match=expected):
        compare(study, silent)


def test_no_part_is_refused(timed: Study) -> None:
    with pytest.raises(ConfigError, match="no part of the work"):
        latency(timed, "2/2", silent)


@pytest.mark.parametrize(("held", "item"), [(Part(0, 2), "0/2"), (WHOLE, None), (Part(1, 2), None)])
def test_one_process_at_a_time(scored: Study, tmp_path: Path, held: Part, item: str | None) -> None:
    study = copied(scored, tmp_path)
    with (
        alone(study.store, "latency", held, what="this", why="a test"),
        pytest.raises(TrackyardError, match=r"\(latency.*\) is in use"),
    ):
        latency(study, item, silent)
