"""One folder on tasks: the same bytes however the work is divided, and nothing that is not whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.recipes.nine.single.small_world import CHOICES, ROWS, SmallWorld
from trackyard.digest import digest_file
from trackyard.errors import ConfigError, DataError
from trackyard.recipes.nine.single.results import Evaluation, read_evaluation
from trackyard.recipes.nine.single.running import evaluate
from trackyard.recipes.nine.single.wanted import Wanted

BOTH = (CHOICES, "mmmu_files")


def _wanted(world: SmallWorld, out: Path, model: str = "molmo2", **values: Any) -> Wanted:
    known: dict[str, Any] = {
        "root": world.root,
        "folder": world.models / model,
        "out": out,
        "names": BOTH,
        "data": (f"{CHOICES}={world.snapshot}", f"mmmu_files={world.pictures}"),
        "batch": 4,
    }
    return Wanted(**known | values)


def _run(wanted: Wanted, part: str | None = None, *, collect: bool = False) -> Evaluation:
    found = evaluate(wanted, part, collect=collect, say=lambda _: None)
    assert found is not None
    return found


def _bytes(out: Path) -> dict[str, bytes]:
    return {name: (out / name / "samples.jsonl").read_bytes() for name in BOTH}


@pytest.fixture(scope="module")
def whole(small_world: SmallWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "out"
    _run(_wanted(small_world, out))
    return out


def test_results_are_of_every_question(small_world: SmallWorld, whole: Path) -> None:
    found = read_evaluation(whole)
    assert list(found.tasks) == sorted(BOTH)
    assert {name: (task.expected, task.ok, task.failed) for name, task in found.tasks.items()} == {
        CHOICES: (ROWS, ROWS, 0),
        "mmmu_files": (5, 5, 0),
    }
    assert set(found.tasks["mmmu_files"].metrics) == {"mmmu", "mmmu_expected"}
    for name, task in found.tasks.items():
        assert task.files["samples.jsonl"] == digest_file(whole / name / "samples.jsonl")
        lines = [json.loads(line) for line in (whole / name / "samples.jsonl").read_text().splitlines()]
        assert [line["id"] for line in lines] == sorted({line["id"] for line in lines})
        assert len(lines) == task.expected
        assert json.loads((whole / name / "config.json").read_bytes())["device"]
    assert found.model.digest
    assert found.code["commit"] == "0" * 40


def test_two_parts_and_a_collection_are_one_run_byte_for_byte(
    small_world: SmallWorld, whole: Path, tmp_path: Path
) -> None:
    wanted = _wanted(small_world, tmp_path / "out", batch=2)
    said: list[str] = []
    assert evaluate(wanted, "1/2", collect=False, say=said.append) is None
    assert said[-1] == f"part 1/2 is done; when all parts are: {wanted.again} --collect"
    with pytest.raises(
        DataError, match=rf"lacks 4 of {ROWS} samples: {CHOICES}:validation:validation-00000, "
    ) as refused:
        _run(wanted, collect=True)
    assert refused.value.fix == wanted.again
    assert not (tmp_path / "out/result.json").exists()
    shown = _run(_wanted(small_world, tmp_path / "out", partial=True), collect=True)
    assert shown.tasks[CHOICES].watermark == f"PARTIAL: 3 of {ROWS} samples (42.9 %), 0 failed"
    evaluate(wanted, "0/2", collect=False, say=said.append)
    found = _run(wanted, collect=True)
    assert not found.tasks[CHOICES].watermark
    assert _bytes(tmp_path / "out") == _bytes(whole)


def test_the_same_command_again_answers_nothing(
    small_world: SmallWorld, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the model was opened")

    before = _bytes(whole)
    monkeypatch.setattr("trackyard.recipes.nine.single.running.open_subject", refuse)
    _run(_wanted(small_world, whole))
    assert _bytes(whole) == before
    with pytest.raises(AssertionError, match="the model was opened"):
        _run(_wanted(small_world, whole, limit=4))


def test_a_number_of_questions_is_the_same_draw_for_every_model(small_world: SmallWorld, tmp_path: Path) -> None:
    ids = {}
    for model in ("molmo2", "other"):
        _run(_wanted(small_world, tmp_path / model, model, limit=4, samples=(f"{CHOICES}=3",)))
        lines = {name: text.splitlines() for name, text in _bytes(tmp_path / model).items()}
        assert {name: len(of) for name, of in lines.items()} == {CHOICES: 3, "mmmu_files": 4}
        ids[model] = {name: [json.loads(line)["id"] for line in of] for name, of in lines.items()}
    assert ids["molmo2"] == ids["other"]
    assert _run(_wanted(small_world, tmp_path / "molmo2", limit=500)).tasks[CHOICES].expected == ROWS
    with pytest.raises(ConfigError, match=f"8 questions of {CHOICES}, which has {ROWS}"):
        _run(_wanted(small_world, tmp_path / "molmo2", samples=(f"{CHOICES}=8",)))
    with pytest.raises(ConfigError, match=f"1 question of {CHOICES}"):
        _run(_wanted(small_world, tmp_path / "molmo2", samples=(f"{CHOICES}=1",)))


def test_tasks_are_added_to_a_folder_and_models_are_not(small_world: SmallWorld, tmp_path: Path) -> None:
    _run(_wanted(small_world, tmp_path, names=(CHOICES,)))
    found = _run(_wanted(small_world, tmp_path, names=("mmmu_files",)))
    assert set(found.tasks) == set(BOTH)
    with pytest.raises(ConfigError, match="holds results of molmo2: other digest"):
        _run(_wanted(small_world, tmp_path, "other"))
    with pytest.raises(ConfigError, match="holds results of molmo2: other visual"):
        _run(_wanted(small_world, tmp_path, visual=1))


def test_a_picture_that_cannot_be_read_is_recorded_and_asked_again(small_world: SmallWorld, tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    for path in small_world.pictures.iterdir():
        (files / path.name).write_bytes(path.read_bytes())
    good = (files / "0.png").read_bytes()
    # The header is whole, so that the question is listed; the pixels are not.
    (files / "0.png").write_bytes(good[: len(good) // 2])
    wanted = _wanted(small_world, tmp_path / "out", names=("mmmu_files",), data=(str(files),))
    with pytest.raises(DataError, match="1 of 5 samples failed, 0 may: mmmu_files:validation:q0") as refused:
        _run(wanted)
    assert refused.value.fix.endswith(wanted.again)
    shown = _run(_wanted(small_world, tmp_path / "out", names=("mmmu_files",), data=(str(files),), partial=True))
    assert (shown.tasks["mmmu_files"].ok, shown.tasks["mmmu_files"].failed) == (4, 1)
    assert shown.tasks["mmmu_files"].watermark.endswith("1 failed")
    (files / "0.png").write_bytes(good)
    assert _run(wanted).tasks["mmmu_files"].ok == 5


REFUSED = [
    ("absent", {}, DataError, "absent is no folder"),
    ("..", {}, DataError, "holds no config.json"),
    ("causal", {}, ConfigError, "with 1 media for causal, which reads text alone"),
    ("molmo2", {"visual": 0}, ConfigError, "visual level 0 of molmo2"),
    ("molmo2", {"data": ("nowhere",)}, DataError, "nowhere"),
    ("molmo2", {"names": ("mmm",)}, ConfigError, "no task 'mmm'; did you mean 'mmmu'"),
]


@pytest.mark.parametrize(("model", "values", "kind", "told"), REFUSED)
def test_what_would_fail_is_refused_first(
    small_world: SmallWorld, tmp_path: Path, model: str, values: dict[str, Any], kind: type[Exception], told: str
) -> None:
    with pytest.raises(kind, match=told):
        _run(_wanted(small_world, tmp_path / "out", model, **values))
    assert not list(tmp_path.rglob("part-*")), "nothing was answered"


def test_parts_are_named_and_not_collected(small_world: SmallWorld, tmp_path: Path) -> None:
    wanted = _wanted(small_world, tmp_path)
    with pytest.raises(ConfigError, match="'2/2' is no part of the work") as refused:
        _run(wanted, "2/2")
    assert refused.value.fix == f"{wanted.again} --shard 0/4, or without it for everything"
    with pytest.raises(ConfigError, match="--collect with --shard 0/2"):
        _run(wanted, "0/2", collect=True)


def test_two_processes_at_once_are_one_run(
    small_world: SmallWorld, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trackyard.recipes.nine.single.running.places", lambda threads: [None, None])
    _run(_wanted(small_world, tmp_path))
    assert _bytes(tmp_path) == _bytes(whole)
    labels = {path.name.rsplit("-", 1)[0] for path in (tmp_path / "answers").rglob("part-*.jsonl")}
    assert labels == {"part-0-of-2", "part-1-of-2"}
