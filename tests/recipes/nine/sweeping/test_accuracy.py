"""The stage of accuracy: the same bytes for every batch, part and order; nothing put out that is not whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.recipes.nine.tiny_nine import TASKS, Told, files, silent, study_at, tiny_study
from trackyard.errors import ConfigError, DataError, TrackyardError
from trackyard.evaluate.answering import lane
from trackyard.recipes.nine.report.comparing import compare
from trackyard.recipes.nine.results import read_result
from trackyard.recipes.nine.study import Study
from trackyard.recipes.nine.sweeping import accuracy as stage
from trackyard.recipes.nine.sweeping.accuracy import accuracy, store_root
from trackyard.recipes.nine.sweeping.opening import open_sweep
from trackyard.recipes.parts import WHOLE, Part, alone

CONFIGURATIONS, QUESTIONS = 4, 6


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """All answers, in one go."""
    study = tiny_study(tmp_path_factory.mktemp("whole"))
    accuracy(study, None, silent)
    return study


def copied(study: Study, root: Path, changes: Mapping[str, Any] | None = None) -> Study:
    shutil.copytree(study.root, root, dirs_exist_ok=True)
    return study_at(root, changes)


def answers(study: Study) -> dict[str, bytes]:
    found = files(study.artifacts / "accuracy")
    assert len(found) == CONFIGURATIONS * len(TASKS)
    return found


def results(study: Study) -> dict[str, Any]:
    """config.json without what says how it was made, and which cores."""
    found = {}
    for path, data in files(study.artifacts / "accuracy", ("config.json",)).items():
        found[path] = {k: v for k, v in json.loads(data).items() if k not in ("batch_size", "lineage", "digest")}
    return found


def test_every_question_is_answered_under_every_configuration(whole: Study) -> None:
    body = read_result(whole.document("accuracy"), "accuracy").body
    assert body["answers"] == CONFIGURATIONS * len(TASKS) * QUESTIONS
    assert (body["failed"], body["keys"]) == (0, list(open_sweep(whole).keys))
    told = [json.loads(line) for data in answers(whole).values() for line in data.splitlines()]
    assert len(told) == body["answers"]
    assert len({line["pred"] for line in told}) > 5, "answers are all alike, so that equal ones show nothing"


@pytest.mark.parametrize("batch", [1, 2, 7, 32])
def test_the_batch_changes_no_byte(whole: Study, tmp_path: Path, batch: int) -> None:
    study = tiny_study(tmp_path, {"accuracy.batch": batch, "accuracy.chunk": 5})
    accuracy(study, None, silent)
    assert answers(study) == answers(whole)
    assert results(study) == results(whole)


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_processes_side_by_side_change_no_byte(
    whole: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int
) -> None:
    study = tiny_study(tmp_path)
    monkeypatch.setattr(stage, "places", lambda threads: [None] * processes)
    accuracy(study, None, silent)
    writers = {path.name.split("-of-")[0] for path in store_root(study).rglob("part-*")}
    assert len(writers) == processes
    assert answers(study) == answers(whole)


@pytest.mark.parametrize("parts", [2, 3])
def test_parts_change_no_byte(whole: Study, tmp_path: Path, parts: int) -> None:
    """In any order; the run without a part finds everything done."""
    study = tiny_study(tmp_path)
    for number in reversed(range(parts)):
        accuracy(study, f"{number}/{parts}", silent)
        assert not study.document("accuracy").exists(), "a part puts nothing out"
    told = Told()
    accuracy(study, None, told)
    assert [line.split()[0] for line in told] == ["complete"]
    assert answers(study) == answers(whole)
    assert results(study) == results(whole)


def test_padding_that_is_not_masked_changes_answers(
    whole: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: what the comparison of batches would find."""
    read = lane.Lane.read.__func__  # type: ignore[attr-defined]

    def careless(cls: Any, subject: Any, prompts: Sequence[Any]) -> Any:
        longest = max(len(prompt) for prompt in prompts)
        found, logits = read(cls, subject, prompts)
        found.positions[:] = longest
        found.mask[:] = True
        return found, logits

    monkeypatch.setattr(lane.Lane, "read", classmethod(careless))
    study = tiny_study(tmp_path, {"accuracy.batch": 32})
    accuracy(study, None, silent)
    assert answers(study) != answers(whole)


def test_a_second_run_asks_nothing(whole: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = copied(whole, tmp_path)
    before = sorted(store_root(study).rglob("part-*"))
    accuracy(study, None, silent)
    assert sorted(store_root(study).rglob("part-*")) == before
    assert answers(study) == answers(whole)


def test_a_cut_part_file_is_found_and_its_questions_are_asked_again(whole: Study, tmp_path: Path) -> None:
    study = copied(whole, tmp_path)
    for path in sorted(store_root(study).rglob("part-*"))[::2]:
        path.write_bytes(path.read_bytes()[:-40])
    accuracy(study, None, silent)
    assert answers(study) == answers(whole)


def test_a_lost_part_file_is_made_up_for(whole: Study, tmp_path: Path) -> None:
    study = copied(whole, tmp_path)
    lost = sorted(store_root(study).rglob("part-*"))[0]
    lost.unlink()
    accuracy(study, None, silent)
    assert answers(study) == answers(whole)


def test_two_answers_that_differ_are_refused(whole: Study, tmp_path: Path) -> None:
    study = copied(whole, tmp_path)
    path = sorted(store_root(study).rglob("part-*"))[0]
    line = json.loads(path.read_text().splitlines()[0])
    line["pred"] = "something else"
    forged = json.dumps(line, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    (path.parent / "part-forged.jsonl").write_text(f"{forged}\n")
    with pytest.raises(DataError, match="measured twice, and not alike"):
        accuracy(study, None, silent)


def test_nothing_is_put_out_while_a_sample_is_missing(
    whole: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = copied(whole, tmp_path)
    path = sorted(store_root(study).rglob("part-*"))[0]
    name = json.loads(path.read_text().splitlines()[0])["id"]
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if f'"{name}"' not in line))
    monkeypatch.setattr(stage, "side_by_side", lambda work, items, at: None)
    with pytest.raises(DataError, match=f"lacks 1 of {QUESTIONS} samples: {name}") as refused:
        accuracy(study, None, silent)
    assert refused.value.fix == "trackyard run nine accuracy"
    assert not study.document("accuracy").exists()


def test_a_failed_question_is_refused_asked_again_and_healed(
    whole: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the message advises is what helps: the cause is removed, and the same command goes on."""
    study = copied(whole, tmp_path)
    path = sorted(store_root(study).rglob("part-*"))[0]
    lines = path.read_text().splitlines()
    line = json.loads(lines[0]) | {"status": "failed", "error": "no memory", "score": {}, "pred": "", "parsed": None}
    lines[0] = json.dumps(line, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    path.write_text("\n".join(lines) + "\n")
    with monkeypatch.context() as patch:
        patch.setattr(stage, "side_by_side", lambda work, items, at: None)
        with pytest.raises(DataError, match="1 of 6 samples failed, 0 may") as refused:
            accuracy(study, None, silent)
    assert "run them again: trackyard run nine accuracy" in refused.value.fix
    accuracy(study, None, silent)
    assert answers(study) == answers(whole)


def test_answers_of_another_model_are_not_taken(whole: Study, tmp_path: Path) -> None:
    """Its keys are others, so nothing of it is read; a folder under a wrong name is refused."""
    study = copied(whole, tmp_path)
    folders = sorted(path for path in store_root(study).iterdir() if path.is_dir())
    inner = sorted(folders[0].iterdir())[0]
    shutil.rmtree(folders[1] / inner.name)
    shutil.copytree(inner, folders[1] / inner.name)
    with pytest.raises(DataError, match="holds samples of something else: other about, key"):
        accuracy(study, "0/2", silent)


def test_compare_refuses_without_all_results(whole: Study, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"latency.result\.json"):
        compare(copied(whole, tmp_path), silent)


@pytest.mark.parametrize("item", ["4/4", "x", "1"])
def test_no_part_is_refused(whole: Study, item: str) -> None:
    with pytest.raises(ConfigError, match="no part of the work"):
        accuracy(whole, item, silent)


def test_without_a_sweep_nothing_is_asked(tmp_path: Path) -> None:
    study = tiny_study(tmp_path)
    study.sweep.unlink()
    with pytest.raises(DataError) as refused:
        accuracy(study, None, silent)
    assert "pipelines/nine/dvc.yaml:sweep" in refused.value.fix


@pytest.mark.parametrize(("held", "item"), [(Part(0, 2), "0/2"), (WHOLE, None), (Part(1, 2), None)])
def test_one_process_at_a_time(whole: Study, tmp_path: Path, held: Part, item: str | None) -> None:
    study = copied(whole, tmp_path)
    with (
        alone(study.store, "accuracy", held, what="this", why="a test"),
        pytest.raises(TrackyardError, match=r"\(accuracy.*\) is in use"),
    ):
        accuracy(study, item, silent)
