"""`--shard K/N` of commands that several machines may share."""

from __future__ import annotations

import pytest
import yaml

from tests.system.commands import ROOT
from trackyard.cli.run import DIVIDED, _part
from trackyard.errors import ConfigError


@pytest.mark.parametrize("track", DIVIDED)
def test_what_can_be_divided_is_what_the_pipelines_say(track: str) -> None:
    stages = yaml.safe_load((ROOT / "pipelines" / track / "dvc.yaml").read_text())["stages"]
    said = [name for name, stage in stages.items() if (stage.get("meta") or {}).get("divided")]
    assert sorted(said) == sorted(DIVIDED[track])
    assert said


def test_a_part_is_what_the_stage_is_called_with() -> None:
    assert _part("nine", "accuracy", None, "1/4") == "1/4"
    assert _part("nine", "accuracy", None, None) is None
    # A variable of a script that is not set must not mean everything: it is refused as no part.
    assert _part("nine", "accuracy", None, "") == ""
    assert _part("pile_ffn", "train", "baseline-42", None) == "baseline-42"


@pytest.mark.parametrize(
    ("track", "stage", "item", "shard", "fix"),
    [
        ("molmo2", "stage1", None, "0/2", "trackyard run molmo2 stage1"),
        ("pile_ffn", "train", "baseline-42", "0/2", "trackyard run pile_ffn train baseline-42"),
        ("nine", "accuracy", "0/2", None, "trackyard run nine accuracy --shard 0/4"),
        ("datacomp", "latents", "world", "0/2", "trackyard run datacomp latents world"),
    ],
)
def test_anything_else_is_refused(track: str, stage: str, item: str | None, shard: str | None, fix: str) -> None:
    with pytest.raises(ConfigError) as refused:
        _part(track, stage, item, shard)
    assert refused.value.fix.startswith(fix)
