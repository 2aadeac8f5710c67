"""Where things lie, and what decides a result."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recipes.nine.tiny_nine import TASKS, study_at, write_definitions
from trackyard.errors import ConfigError
from trackyard.recipes.nine.parameters import NINE
from trackyard.record.image import IMAGE_VARIABLE, NO_IMAGE


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_definitions(tmp_path)
    return tmp_path


def test_what_is_made_lies_below_artifacts_and_what_is_named_where_it_is_named(root: Path) -> None:
    made = study_at(root)
    for path in (made.model, made.importance, made.sweep, made.staging.staged, made.place("accuracy", "k", "t")):
        assert path.is_relative_to(made.artifacts)
    assert made.store == root / "runs/nine"
    assert not made.store.is_relative_to(made.artifacts), "what is appended outlives a stage's outputs"
    named = study_at(
        root,
        {
            "data": {"staged": "copies", "folders": {TASKS[0]: "mine"}},
            "model": {"folder": "models/one"},
            "importance.file": "scores.json",
        },
    )
    assert named.model == root / "models/one"
    assert named.importance == root / "scores.json"
    assert named.questions_of(named.tasks[TASKS[0]]) == root / "mine"
    assert named.questions_of(named.tasks[TASKS[1]]).is_relative_to(root / "copies")


def test_tasks_by_name_or_group_in_their_order(root: Path) -> None:
    assert list(study_at(root).tasks) == list(TASKS)
    assert tuple(study_at(root, {"tasks": ["nine"]}).tasks) == NINE
    with pytest.raises(ConfigError, match="no task 'nin'"):
        _ = study_at(root, {"tasks": ["nin"]}).tasks


def test_the_miniature_does_not_have_the_numbers_of_the_real_data_sets(root: Path) -> None:
    assert study_at(root).tasks[TASKS[0]].samples is None
    assert study_at(root, {"data": {"staged": "copies"}}).tasks[TASKS[0]].samples == 38_589


def test_a_header_says_what_decided_the_result(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = study_at(root)
    header = study.header("accuracy", inputs={"a": "1"}, device="cpu", wall_s=1.0, model="m")
    assert header.spec_digest == study.spec_digest("accuracy") != study.spec_digest("latency")
    assert (header.git_commit, header.image_digest, header.model) == ("c" * 40, NO_IMAGE, "m")
    assert "torch" in header.libs
    monkeypatch.setenv(IMAGE_VARIABLE, "sha256:" + "1" * 64)
    assert study.header("data", inputs={}, device="cpu", wall_s=0.0).image_digest == "sha256:" + "1" * 64
    assert study_at(root, {"resamples": 101}).spec_digest("accuracy") != header.spec_digest
    assert study_at(root, {"threads": 2}).spec_digest("accuracy") == header.spec_digest
