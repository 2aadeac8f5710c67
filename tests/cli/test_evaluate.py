"""`trackyard evaluate`: three kinds of models, what is printed, and how refusals end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.stage_world import Typed, type_into
from tests.evaluate.test_origin_files import write as write_origin
from tests.recipes.nine.single.small_world import CHOICES, ENVIRONMENT, ROOT, ROWS, SmallWorld, make_world
from trackyard.cli import evaluate, main
from trackyard.errors import EXIT_FAILED, EXIT_STOPPED_EARLY, EXIT_USAGE, ConfigError, DataError

FILES = "mmmu_files"
MANY = 1_000
"""Questions that take a tiny model seconds."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> SmallWorld:
    return make_world(tmp_path_factory.mktemp("evaluated"))


@pytest.fixture(autouse=True)
def _code_of_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def _type(world: SmallWorld, *line: object) -> Typed:
    return type_into(evaluate.app, world.root, *map(str, line))


MODELS = [
    ("molmo2", f"{CHOICES},{FILES}", "pictures"),
    ("gemma", f"{CHOICES},{FILES}", "pictures"),
    ("causal", FILES, "texts"),
]


@pytest.mark.parametrize(("model", "tasks", "files"), MODELS)
def test_a_folder_of_any_kind(
    world: SmallWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str], model: str, tasks: str, files: str
) -> None:
    data = ["--data", world.snapshot, "--data", f"{FILES}={getattr(world, files)}"]
    typed = _type(world, "run", world.models / model, "--tasks", tasks, *data, "--out", tmp_path)
    assert typed.code == 0
    lines = typed.out.splitlines()
    assert f"{model} (fp32)" in lines
    body = json.loads((tmp_path / "result.json").read_bytes())
    assert set(body["tasks"]) == set(tasks.split(","))
    for name, task in body["tasks"].items():
        value = task["metrics"][task["metric"]]
        shown = next(line for line in lines if line.split()[:2] == [name, task["metric"]])
        assert f"{value['value']:.4f} [{value['lo']:.4f}, {value['hi']:.4f}]" in shown
        assert shown.split()[-4:] == [
            str(task["expected"]), f"{task['cap_rate']:.1%}", f"{task['unparsed_rate']:.1%}", "0",
        ]  # fmt: skip
        assert {line["status"] for line in map(json.loads, (tmp_path / name / "samples.jsonl").open())} == {"ok"}
    # Random models end at their cap: what is above 1 % is said.
    assert f"of the answers to {FILES} end at 32 tokens without an end token" in capsys.readouterr().err


def test_the_level_of_pictures_and_the_precision_are_set(world: SmallWorld, tmp_path: Path) -> None:
    visual = {}
    for level in (1, 4):
        out = tmp_path / str(level)
        line = ["run", world.models / "molmo2", "--tasks", CHOICES, "--data", world.snapshot, "--out", out]
        typed = _type(world, *line, "--visual", level, "--precision", "bf16", "--samples", f"{CHOICES}=3")
        assert f"molmo2 (bf16, visual level {level})" in typed.out
        visual[level] = json.loads((out / CHOICES / "config.json").read_bytes())["realised_visual"]["mean"]
    assert visual[1] < visual[4]


def test_models_are_compared(world: SmallWorld, tmp_path: Path) -> None:
    for model in ("molmo2", "other"):
        line = ["run", world.models / model, "--tasks", CHOICES, "--data", world.snapshot]
        assert _type(world, *line, "--out", tmp_path / model, "--limit", 4).code == 0
    typed = _type(world, "compare", tmp_path / "molmo2", tmp_path / "other")
    assert typed.out.startswith("first: molmo2; second: other\n")
    assert next(line for line in typed.out.splitlines() if line.startswith(CHOICES)).split()[1:3] == ["mc", "4"]
    body = _type(world, "compare", tmp_path / "molmo2", tmp_path / "other", "--json").json()
    assert body["schema"] == "trackyard-model-comparison/1"
    assert [(row["task"], row["metric"], row["samples"]) for row in body["tasks"]] == [(CHOICES, "mc", 4)]
    line = ["run", world.models / "other", "--tasks", CHOICES, "--data", world.snapshot]
    assert _type(world, *line, "--out", tmp_path / "other").code == 0
    with pytest.raises(ConfigError, match="has no result of ai2d"):
        _type(world, "compare", tmp_path / "molmo2", tmp_path / "other", "--tasks", "ai2d")


def test_the_tasks_are_listed(world: SmallWorld) -> None:
    typed = _type(world, "tasks")
    assert next(line for line in typed.out.splitlines() if line.startswith("mmmu ")).split() == (
        ["mmmu", "MMMU", "mmmu", "validation", "mmmu", "32", "900", "nine"]
    )
    assert "jf is not measured: J&F needs a mask predictor" in typed.out
    listed = _type(world, "tasks", "--group", "text", "--json").json()
    assert {task["layout"] for task in listed["tasks"]} == {"harness"}
    assert len(listed["tasks"]) == 5
    with pytest.raises(ConfigError, match="no task 'nin'; did you mean 'nine'"):
        _type(world, "tasks", "--group", "nin")


REFUSED: list[tuple[list[str], int, str, str]] = [
    (["absent", "--tasks", CHOICES], EXIT_FAILED, "what: absent is no folder", "Hugging Face layout"),
    (["{molmo2}", "--tasks", "a-okvq"], EXIT_USAGE, "what: no task 'a-okvq'; did you mean 'a-okvqa'?", "tasks/"),
    (["{molmo2}", "--tasks", "ai2d"], EXIT_FAILED, "ai2d", "trackyard data"),
    (
        ["{molmo2}", "--tasks", CHOICES, "--shard", "2/2"],
        EXIT_USAGE,
        "what: '2/2' is no part of the work",
        "--shard 0/4",
    ),
    (["{molmo2}", "--tasks", CHOICES, "--collect"], EXIT_FAILED, f"lacks {ROWS} of {ROWS} samples", "evaluate run"),
    (["{causal}", "--tasks", CHOICES], EXIT_USAGE, "with 1 media for causal, which reads text alone", "leave the task"),
]


@pytest.mark.parametrize(("line", "code", "what", "fix"), REFUSED)
def test_refusals_say_what_why_and_what_to_do(
    world: SmallWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    line: list[str], code: int, what: str, fix: str,
) -> None:  # fmt: skip
    known: dict[str, Any] = {"molmo2": world.models / "molmo2", "causal": world.models / "causal"}
    typed = [word.format(**known) for word in line]
    monkeypatch.chdir(world.root)
    arguments = ["trackyard", "evaluate", "run", *typed, "--data", str(world.snapshot), "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as stop:
        main.main()
    assert stop.value.code == code
    told = capsys.readouterr().err
    assert what in told
    assert fix in told.split("fix:")[1]
    assert not (tmp_path / "out/result.json").exists()


@pytest.mark.system
def test_a_stopped_run_goes_on_where_it_was(world: SmallWorld, tmp_path: Path) -> None:
    line = {"id": "", "question": "Which is it?", "options": ["one", "two"], "answer": "A"}
    asked = [line | {"id": f"{number:04}"} for number in range(MANY)]
    (tmp_path / "data").mkdir()
    (tmp_path / "data/questions.jsonl").write_text("".join(json.dumps(one) + "\n" for one in asked))
    known = ["run", world.models / "causal", "--tasks", FILES, "--data", tmp_path / "data"]
    cut = subprocess.Popen(
        [sys.executable, "-m", "trackyard", "evaluate", *map(str, known), "--out", str(tmp_path / "cut")],
        cwd=world.root, env=os.environ | ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while cut.poll() is None and not list(tmp_path.glob("cut/answers/*/*/part-*")):
        time.sleep(0.01)
    cut.send_signal(signal.SIGTERM)
    told = cut.communicate()[1]
    assert cut.returncode == EXIT_STOPPED_EARLY, told
    assert "what: stopped by SIGTERM" in told
    assert not (tmp_path / "cut/result.json").exists()
    (part,) = tmp_path.glob("cut/answers/*/*/part-*")
    kept = part.read_bytes()
    assert 0 < len(kept.splitlines()) < MANY
    for out in ("cut", "whole"):
        assert _type(world, *known, "--out", tmp_path / out).code == 0
    assert part.read_bytes() == kept, "what was answered is not asked again"
    assert len(list(tmp_path.glob("cut/answers/*/*/part-*"))) == 2
    whole = (tmp_path / "whole" / FILES / "samples.jsonl").read_bytes()
    assert (tmp_path / "cut" / FILES / "samples.jsonl").read_bytes() == whole


def test_the_tasks_are_those_of_the_project(world: SmallWorld) -> None:
    assert (world.root / "tasks").resolve() == ROOT / "tasks"


def test_results_of_the_origin_are_merged_listed_and_refused_in_part(world: SmallWorld, tmp_path: Path) -> None:
    for rank in range(2):
        write_origin(tmp_path, range(rank, 20, 2), rank=rank, ranks=2)
    write_origin(tmp_path, range(20), kind="exp6")
    typed = _type(world, "origin", tmp_path, "--samples", 20)
    assert typed.code == 0
    table = [line.split() for line in typed.out.splitlines()]
    assert ["accuracy", "2", "4", "12", "20", "0.5000"] in table
    assert ["latency", "2", "4", "12", "20", "109.5000"] in table
    (tmp_path / "exp5_accuracy_results_crops2_topk4_blocks12_rank1.json").unlink()
    with pytest.raises(DataError, match="no file of rank 1 of 2"):
        _type(world, "origin", tmp_path, "--samples", 20)
