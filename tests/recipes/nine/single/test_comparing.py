"""Two models on the same questions: differences of what they answered, and refusals where they were asked others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.recipes.nine.single.small_world import CHOICES, SmallWorld, choices
from trackyard.errors import ConfigError, DataError
from trackyard.recipes.nine.single.comparing import compare
from trackyard.recipes.nine.single.results import RESULT
from trackyard.recipes.nine.single.running import evaluate
from trackyard.recipes.nine.single.wanted import Wanted
from trackyard.snapshot.writer import write_dataset

TASK, COUNT, KNOWN = "mmmu_files", 12, 9
"""Questions, and how many of them have what the first model says as their answer."""


def _evaluate(world: SmallWorld, data: Path, out: Path, model: str, **values: Any) -> Path:
    known: dict[str, Any] = {"names": (TASK,), "data": (str(data),)}
    wanted = Wanted(root=world.root, folder=world.models / model, out=out, **known | values)
    evaluate(wanted, None, collect=False, say=lambda _: None)
    return out


def _ask(folder: Path, answers: list[str]) -> Path:
    folder.mkdir()
    lines = [
        {"id": f"{number:02}", "question": f"Say {number}.", "options": [], "answer": answer}
        for number, answer in enumerate(answers)
    ]
    (folder / "questions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture(scope="module")
def outs(small_world: SmallWorld, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Results of two models on questions of which the first knows most, and the data."""
    place = tmp_path_factory.mktemp("compared")
    blind = _evaluate(small_world, _ask(place / "blind", ["?"] * COUNT), place / "said", "molmo2")
    said = [json.loads(line)["pred"] for line in (blind / TASK / "samples.jsonl").read_text().splitlines()]
    data = _ask(place / "data", [*said[:KNOWN], *["an answer that is not given"] * (COUNT - KNOWN)])
    return (
        _evaluate(small_world, data, place / "first", "molmo2"),
        _evaluate(small_world, data, place / "second", "other"),
        data,
    )


def test_the_difference_is_that_of_what_was_answered(outs: tuple[Path, Path, Path]) -> None:
    first, second, _ = outs
    found = compare(first, second)
    (task,) = found.tasks
    assert (found.first, found.second, found.metrics) == ("molmo2", "other", {TASK: "mmmu"})
    assert task.difference.samples == COUNT
    assert task.difference.first == KNOWN / COUNT
    assert task.difference.second == 0
    assert not task.difference.tie
    # 9 against 0 discordant pairs: 2 / 2^9.
    assert (task.test, task.p, task.holm_p) == ("mcnemar", 2 / 2**9, 2 / 2**9)
    turned = compare(second, first, [TASK]).tasks[0]
    assert turned.difference.difference == -task.difference.difference
    alike = compare(first, first).tasks[0]
    assert alike.difference.tie
    assert alike.p == 1


def test_other_questions_are_refused(small_world: SmallWorld, outs: tuple[Path, Path, Path], tmp_path: Path) -> None:
    first, _, data = outs
    fewer = _evaluate(small_world, data, tmp_path / "fewer", "other", limit=COUNT - 1)
    with pytest.raises(DataError, match=f"{TASK} was asked with other questions, or in another way: 12 and 11"):
        compare(first, fewer)
    with pytest.raises(ConfigError, match="has no result of ai2d") as refused:
        compare(first, first, ["ai2d"])
    assert refused.value.fix == f"--tasks {TASK}"
    with pytest.raises(DataError, match=f"{RESULT} does not exist"):
        compare(first, tmp_path)


def test_answers_that_were_altered_are_refused(
    small_world: SmallWorld, outs: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    first, _, data = outs
    other = _evaluate(small_world, data, tmp_path / "out", "other")
    samples = other / TASK / "samples.jsonl"
    samples.write_bytes(samples.read_bytes().replace(b'"mmmu":0.0', b'"mmmu":1.0'))
    with pytest.raises(DataError, match="is not the file that was written"):
        compare(first, other)
    samples.unlink()
    with pytest.raises(DataError, match="is not there"):
        compare(first, other)
    body = (other / RESULT).read_text()
    (other / RESULT).write_text(body.replace('"ok": 12', '"ok": 11'))
    with pytest.raises(DataError, match="was altered after it was written"):
        compare(first, other)


def test_questions_about_one_picture_are_drawn_together(small_world: SmallWorld, tmp_path: Path) -> None:
    rows = [
        replace(row, conversations=row.conversations * 2, meta={key: list(of) * 2 for key, of in row.meta.items()})
        for row in choices()
    ]
    data = tmp_path / "data"
    write_dataset(data / CHOICES, {"validation": rows}, dataset=CHOICES, source={"by": "test"}, licence="own")
    first, second = (
        _evaluate(small_world, data, tmp_path / model, model, names=(CHOICES,)) for model in ("molmo2", "other")
    )
    for out in (first, second):
        clusters = json.loads((out / CHOICES / "clusters.json").read_bytes())["clusters"]
        assert (len(clusters), len(set(clusters.values()))) == (2 * len(rows), len(rows))
    (task,) = compare(first, second).tasks
    # McNemar's test needs questions that stand alone.
    assert (task.difference.samples, task.test) == (2 * len(rows), "sign flips")
    (first / CHOICES / "clusters.json").unlink()
    with pytest.raises(DataError, match=r"clusters\.json is not there"):
        compare(first, second)
