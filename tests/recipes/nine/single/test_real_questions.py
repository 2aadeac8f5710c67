"""MMMU's task end to end on real questions, one of them with five pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.recipes.nine.single.small_world import ROOT, SmallWorld
from trackyard.recipes.nine.layouts.mmmu_files import image_names
from trackyard.recipes.nine.single.running import evaluate
from trackyard.recipes.nine.single.wanted import Wanted

REAL = ROOT.parent / "shared/data/real/mmmu_pro"


@pytest.mark.skipif(not REAL.is_dir(), reason="the real questions are not on this machine")
def test_all_real_questions_are_answered_and_scored(small_world: SmallWorld, tmp_path: Path) -> None:
    wanted = Wanted(
        root=small_world.root,
        folder=small_world.models / "molmo2",
        out=tmp_path,
        names=("mmmu_files",),
        data=(str(REAL),),
        batch=7,
    )
    found = evaluate(wanted, None, collect=False, say=lambda _: None)
    assert found is not None
    task = found.tasks["mmmu_files"]
    assert (task.expected, task.ok, task.failed) == (21, 21, 0)
    value = task.metrics["mmmu"]
    assert 0 <= value.lo <= value.value <= value.hi <= 1
    lines = [json.loads(line) for line in (tmp_path / "mmmu_files/samples.jsonl").read_text().splitlines()]
    assert all(set(line["score"]) == {"mmmu", "mmmu_expected"} for line in lines)
    asked = [json.loads(line) for line in (REAL / "questions.jsonl").read_text().splitlines()]
    pictures = {str(number): len(image_names(line)) for number, line in enumerate(asked)}
    assert sorted(pictures.values())[-2:] == [1, 5]
    shown = {line["id"].rsplit(":", 1)[1]: line["n_visual"] for line in lines}
    five = next(name for name, count in pictures.items() if count == 5)
    # Every picture is shown whole and in crops: five of them come to more tokens than any one.
    assert shown[five] == max(shown.values()) > min(shown.values()) > 0
