"""Parameters of the track: what contradicts itself is refused, and every key decides the results that it should."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.recipes.nine.tiny_nine import ROOT, changed
from trackyard.errors import ConfigError
from trackyard.evaluate.sweep.levels import KnobLevels, block_counts
from trackyard.evaluate.sweep.strategies import points
from trackyard.parameters import Parameters, parse_parameters
from trackyard.recipes.nine.parameters import NINE, SECTIONS, NineParameters, load_nine
from trackyard.recipes.nine.stages import STAGES


def parsed(changes: dict[str, Any] | None = None) -> NineParameters:
    return parse_parameters(NineParameters, changed(changes), where="params.yaml: nine")


def names(group: type[Parameters]) -> set[str]:
    return set(group.model_fields)


def test_the_shipped_parameters_are_27_configurations_of_the_nine_data_sets() -> None:
    shipped = load_nine(ROOT / "params.yaml")
    assert shipped.tasks == NINE
    assert shipped.data.fixture is not None
    made, knobs = shipped.model.made, shipped.knobs
    assert made is not None
    assert knobs.visual
    assert knobs.experts
    assert knobs.blocks
    levels = KnobLevels(visual=knobs.visual, experts=knobs.experts, blocks=block_counts(knobs.blocks, made.layers))
    assert len(set(points(levels, knobs.strategy))) == 27
    # Every level is one that the model has, and was trained with pictures of as many crops.
    assert max(knobs.experts) <= made.experts
    assert set(knobs.visual) <= set(made.crops)


def test_every_key_of_the_shipped_file_is_one_of_the_track() -> None:
    """And a misspelt one is refused with its name."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text())["nine"]
    assert set(values) <= names(NineParameters)
    assert parse_parameters(NineParameters, values, where="nine") == load_nine(ROOT / "params.yaml")
    for group, inner in values.items():
        for wrong in ({group + "x": inner}, {group: inner | {"nonsense": 1}} if isinstance(inner, dict) else {"y": 1}):
            with pytest.raises(ConfigError):
                parse_parameters(NineParameters, values | wrong, where="nine")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"data": {}}, "exactly one of them"),
        ({"data.staged": "somewhere"}, "exactly one of them"),
        ({"model.folder": "somewhere"}, "exactly one of them"),
        ({"model.made": None}, "exactly one of them"),
        ({"tasks": []}, "names one twice, or none"),
        ({"tasks": ["tally_qa", "tally_qa"]}, "names one twice, or none"),
        ({"data.samples": {"mmmu": 3}}, "names mmmu, which is not among tasks"),
        ({"data.folders": {"doc_qa": "x"}}, "names doc_qa, which is not among tasks"),
        ({"knobs.visual": [4, 1]}, "levels rise"),
        ({"knobs.visual": [1, 1]}, "levels rise"),
        ({"knobs.experts": []}, "there is at least one"),
        ({"knobs.strategy": "random"}, "strategy"),
        ({"latency.warmup": 2}, "warmup"),
        ({"latency.ending": "long"}, "ending"),
        ({"accuracy.batch": 0}, "batch"),
        ({"model.precision": "fp16"}, "precision"),
        ({"data.limit": 0}, "limit"),
    ],
)
def test_contradictions_are_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        parsed(changes)


def test_every_stage_after_the_first_has_its_sections() -> None:
    assert set(SECTIONS) == set(STAGES) - {"declare"}
    for stage, sections in SECTIONS.items():
        assert set(sections) <= names(NineParameters), stage
    # How many threads compute changes no result.
    assert {section for sections in SECTIONS.values() for section in sections} == names(NineParameters) - {"threads"}


@pytest.mark.parametrize(
    ("changes", "decided"),
    [
        ({"data.seed": 1}, {"data", "model", "importance", "sweep", "accuracy", "latency", "compare"}),
        ({"tasks": ["tally_qa"]}, {"data", "importance", "sweep", "accuracy", "latency", "compare"}),
        ({"model.precision": "bf16"}, {"model", "importance", "sweep", "accuracy", "latency", "compare"}),
        ({"knobs.visual": [1]}, {"importance", "sweep", "accuracy", "latency", "compare"}),
        ({"importance.rows": 3}, {"importance", "sweep", "accuracy", "latency", "compare"}),
        ({"accuracy.most_failed": 1}, {"accuracy", "compare"}),
        ({"latency.samples": 1}, {"latency", "compare"}),
        ({"resamples": 200}, {"accuracy", "latency", "compare"}),
        ({"partial": True}, {"compare"}),
        ({"accuracy.batch": 7, "accuracy.chunk": 9}, set()),
        ({"threads": 2}, set()),
    ],
)
def test_a_key_decides_the_results_that_depend_on_it(changes: dict[str, Any], decided: set[str]) -> None:
    before, after = parsed(), parsed(changes)
    assert {stage for stage in SECTIONS if before.sections(stage) != after.sections(stage)} >= decided
    unaffected = set(SECTIONS) - decided
    # Latency is timed on the questions that the sweep draws.
    unaffected -= {"sweep"} if "latency.samples" in changes else set()
    for stage in unaffected:
        assert before.sections(stage) == after.sections(stage), stage


def test_the_question_seed_of_the_miniature_is_the_models_too() -> None:
    """The model is trained on rows of the same seed."""
    other = parsed({"data.fixture": {"seed": 5, "evaluated": 6}})
    assert other.sections("model") != parsed().sections("model")


def test_a_profile_is_the_shipped_set_with_its_changes(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"nine": changed()}))
    (tmp_path / "profile.yaml").write_text(yaml.safe_dump({"extends": "params", "nine": {"accuracy": {"batch": 9}}}))
    found = load_nine(tmp_path / "profile.yaml")
    assert found == parsed({"accuracy.batch": 9})


def test_the_shipped_profiles_are_parameters_of_the_track() -> None:
    profiles = ROOT / "profiles"
    assert load_nine(profiles / "mini.yaml") == load_nine(ROOT / "params.yaml")
    real = load_nine(profiles / "nine-molmo2.yaml")
    assert real.data.staged is not None
    assert real.model.folder is not None
    assert real.knobs.experts is None, "Molmo2 has no routed experts"
    # An importance is measured on training rows that are named, or has been.
    assert real.knobs.blocks is None or real.importance.snapshot or real.importance.file


def test_a_file_without_the_track_is_refused(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("molmo2: {}\n")
    with pytest.raises(ConfigError, match="nine"):
        load_nine(tmp_path / "params.yaml")
