"""A sweep is planned after everything that it needs was tried; its keys change with what can change an answer only."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tests.recipes.nine.sweeping.made_questions import Listed, task
from tests.recipes.nine.tiny_nine import TASKS, Told, silent, study_at, tiny_study
from trackyard.acquire.media import UnreadableMedia
from trackyard.errors import ConfigError, DataError, EnvironmentLacking
from trackyard.evaluate.importance import BlockImportance, write_importance
from trackyard.evaluate.tasks.question import Question
from trackyard.recipes.nine.results import read_result
from trackyard.recipes.nine.study import Study
from trackyard.recipes.nine.sweeping import planning
from trackyard.recipes.nine.sweeping.asked import Asked, asked
from trackyard.recipes.nine.sweeping.opening import asked_tasks, open_evaluated, open_sweep
from trackyard.recipes.nine.sweeping.planning import require_scorers, sweep


def keys(study: Study) -> tuple[str, ...]:
    sweep(study, silent)
    return open_sweep(study).keys


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return tiny_study(tmp_path_factory.mktemp("planned"))


def test_all_combinations_of_the_levels_in_their_order(planned: Study) -> None:
    found = open_sweep(planned)
    assert [(one.visual, one.experts, one.depth) for one in found.configurations.values()] == [
        (1, None, 3), (1, None, 4), (4, None, 3), (4, None, 4),
    ]  # fmt: skip
    for one in found.configurations.values():
        assert one.blocks is not None
        assert (one.blocks[0], one.blocks[-1]) == (0, 3)
    assert found.lists == {"visual": (1, 4), "experts": (), "blocks": (3, 4)}


def test_what_is_timed_is_of_the_questions_and_told(planned: Study, tmp_path: Path) -> None:
    body = read_result(planned.document("sweep"), "sweep").body
    for name, of in asked_tasks(planned).items():
        assert len(body["latency"][name]) == planned.parameters.latency.samples
        assert set(body["latency"][name]) <= set(of.ids)
    assert body["answers"] == 4 * sum(len(of.ids) for of in asked_tasks(planned).values())
    told = Told()
    study = tiny_study(tmp_path, {"latency.samples": 500})
    sweep(study, told)
    assert any("visual [1, 4], blocks [3, 4]; full: 4 configurations, 48 answers" in line for line in told)
    everything = read_result(study.document("sweep"), "sweep").body["latency"]
    assert {name: set(ids) for name, ids in everything.items()} == {
        name: set(of.ids) for name, of in asked_tasks(study).items()
    }


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({"knobs.strategy": "balanced", "knobs.experts": [2, 3, 4]}, 12),
        ({"knobs.strategy": "lhs", "knobs.points": 3}, 3),
        ({"knobs.visual": None}, 2),
        ({"knobs.visual": None, "knobs.blocks": None}, 1),
    ],
)
def test_strategies_and_knobs_that_are_not_turned(tmp_path: Path, changes: dict[str, Any], count: int) -> None:
    assert len(keys(tiny_study(tmp_path, changes))) == count


@pytest.mark.parametrize(
    "changes",
    [
        {"tasks": [TASKS[0]]},
        {"tasks": [*TASKS, "coco_2014_vqa"]},
        {"data.limit": 3},
        {"accuracy.batch": 7, "accuracy.most_failed": 2},
        {"latency.samples": 3},
        {"resamples": 200},
    ],
)
def test_what_changes_no_answer_changes_no_key(planned: Study, tmp_path: Path, changes: dict[str, Any]) -> None:
    assert keys(tiny_study(tmp_path, changes)) == open_sweep(planned).keys


def other_model(study: Study) -> None:
    """One weight is another one; the importance is measured again."""
    from safetensors.torch import load_file, save_file

    path = study.model / "model.safetensors"
    weights = load_file(path)
    name = next(name for name in weights if name.endswith("embed_tokens.weight") or "wte" in name)
    weights[name] = weights[name] + torch.zeros_like(weights[name]).index_fill_(0, torch.tensor([0]), 1e-3)
    save_file(weights, path, metadata={"format": "pt"})
    subject = open_evaluated(study)
    kept = json.loads(study.importance.read_text())
    write_importance(
        study.importance,
        BlockImportance(model=subject.digest, questions=kept["questions"], scores=tuple(kept["scores"])),
    )


def other_scores(study: Study) -> None:
    """The same blocks are kept, by another measurement."""
    kept = json.loads(study.importance.read_text())
    scores = [None if score is None else 2 * score for score in kept["scores"]]
    write_importance(
        study.importance, BlockImportance(model=kept["model"], questions=kept["questions"], scores=tuple(scores))
    )


@pytest.mark.parametrize("change", [other_model, other_scores])
def test_another_model_or_importance_are_other_keys(planned: Study, tmp_path: Path, change: Any) -> None:
    study = tiny_study(tmp_path)
    change(study)
    assert not set(keys(study)) & set(open_sweep(planned).keys)


def test_another_precision_or_wording_are_other_keys(
    planned: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not set(keys(tiny_study(tmp_path / "a", {"model.precision": "bf16"}))) & set(open_sweep(planned).keys)
    monkeypatch.setattr(planning, "CHOICE_TEMPLATES", (("another wording",),))
    assert not set(keys(tiny_study(tmp_path / "b"))) & set(open_sweep(planned).keys)


def test_the_importance_of_another_model_is_refused(tmp_path: Path) -> None:
    study = tiny_study(tmp_path)
    kept = json.loads(study.importance.read_text())
    write_importance(
        study.importance,
        BlockImportance(model="b" * 64, questions=kept["questions"], scores=tuple(kept["scores"])),
    )
    with pytest.raises(DataError, match=f"of the model {'b' * 64}"):
        sweep(study, silent)


def test_without_importance_the_knob_of_blocks_is_refused(tmp_path: Path) -> None:
    study = tiny_study(tmp_path)
    study.importance.unlink()
    with pytest.raises(DataError, match=r"scores\.json") as refused:
        sweep(study, silent)
    assert "trackyard run nine importance" in refused.value.fix


class Deaf:
    """A model without experts, for which pictures come in one size."""

    name, levels_matter = "plain", False

    def __init__(self) -> None:
        config = LlamaConfig(
            hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, vocab_size=16
        )
        self.model = LlamaForCausalLM(config)


@pytest.mark.parametrize("knob", ["experts", "visual"])
def test_a_knob_that_the_model_lacks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, knob: str) -> None:
    study = tiny_study(tmp_path, {"knobs": {knob: [1, 2]}})
    monkeypatch.setattr(planning, "open_evaluated", lambda study: Deaf())
    with pytest.raises(ConfigError, match=f"nine.knobs.{knob} is turned, and plain does not have it"):
        sweep(study, silent)


def test_more_experts_than_there_are_are_found_before_the_sweep(tmp_path: Path) -> None:
    study = tiny_study(tmp_path, {"knobs.experts": [2, 9]})
    study.sweep.unlink()
    with pytest.raises(ConfigError, match="9"):
        sweep(study, silent)
    assert not study.sweep.exists()


def test_captions_without_java_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = tiny_study(tmp_path, {"tasks": ["coco_caption"]})
    sweep(study, silent)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentLacking, match=r"(?i)java"):
        sweep(study, silent)


def test_questions_that_cannot_be_scored_are_refused() -> None:
    of = asked(
        task(metric="mc"), Listed.of(["a:b:1"], lambda name: Question(id=name, question="?")), limit=None, seed=0
    )
    with pytest.raises(DataError, match="a:b:1 has no options, answer_index"):
        require_scorers({"made": of})


@pytest.mark.parametrize(("budget", "passes"), [(0, False), (6, True)])
def test_a_picture_that_cannot_be_read_is_refused_unless_it_may_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget: int, passes: bool
) -> None:
    study = tiny_study(tmp_path, {"accuracy.most_failed": budget, "latency.samples": 6})
    lost = {of.ids[0] for of in asked_tasks(study).values()}
    read = Asked.__getitem__

    def reading(of: Asked, name: str) -> Question:
        if name in lost:
            raise UnreadableMedia(what=f"{name} is no image", why="it has no header", fix="stage it again")
        return read(of, name)

    monkeypatch.setattr(Asked, "__getitem__", reading)
    if not passes:
        with pytest.raises(DataError, match="is no image"):
            sweep(study, silent)
        return
    sweep(study, silent)
    timed = read_result(study.document("sweep"), "sweep").body["latency"]
    assert {name: len(ids) for name, ids in timed.items()} == dict.fromkeys(TASKS, 5)
    assert not lost & {name for ids in timed.values() for name in ids}


def test_an_altered_sweep_is_refused(planned: Study, tmp_path: Path) -> None:
    shutil.copytree(planned.root, tmp_path, dirs_exist_ok=True)
    study = study_at(tmp_path)
    study.sweep.write_text(study.sweep.read_text().replace('"visual": 4', '"visual": 3'))
    with pytest.raises(DataError, match="was altered"):
        open_sweep(study)
