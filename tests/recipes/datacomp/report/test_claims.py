"""What may be said, and each thing that it may lack."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.recipes.datacomp.report.made_results import RIGHT, made_study, write_study
from trackyard.errors import ConfigError
from trackyard.recipes.datacomp.report.claims import CLAIM, MarginMissed, claims, margins, require_margins
from trackyard.recipes.datacomp.report.gathering import gather
from trackyard.recipes.datacomp.report.pairs import pairs
from trackyard.recipes.datacomp.report.table import tabulate
from trackyard.recipes.datacomp.study import Study


def found_in(study: Study) -> dict[str, tuple[str, ...]]:
    gathered = gather(study)
    told = claims(gathered, study.parameters, pairs(gathered, study.parameters))
    return {claim.benchmark: claim.missing for claim in told}


def test_three_seeds_that_beat_everything_make_a_claim(tmp_path: Path) -> None:
    study = made_study(tmp_path)
    write_study(study)
    gathered = gather(study)
    found = claims(gathered, study.parameters, pairs(gathered, study.parameters))
    assert [(claim.benchmark, claim.admissible, claim.words) for claim in found] == [
        ("vsr", True, CLAIM),
        ("captions", True, CLAIM),
    ]
    reached = margins(tabulate(gathered, study.parameters), study.parameters)
    assert len(reached) == 2 * 3
    assert {round(margin.found, 4) for margin in reached} == {round(35 / 60, 4), round(37 / 60, 4)}
    require_margins(reached)

    # Each thing alone is lacking: a pair at one seed, and the audit at evaluation.
    paired = pairs(gathered, study.parameters)
    lost = [replace(pair, holm_p=0.06) if pair.b == "soft_prompt-42" else pair for pair in paired]
    assert claims(gathered, study.parameters, lost)[0].missing == (
        "not better, beyond interval and correction, than soft_prompt (2 of 3 seeds)",
    )
    gathered.cells["audit_branch"]["world-42"].body["branch"] = "gate closed"  # type: ignore[index]
    assert "the branch at evaluation is connected, gate closed" in claims(gathered, study.parameters, lost)[0].words


def test_two_seeds_claim_nothing(tmp_path: Path) -> None:
    study = made_study(tmp_path, seeds=(42, 1337))
    write_study(study)
    assert found_in(study) == dict.fromkeys(("vsr", "captions"), ("2 seeds where 3 are needed",))


def test_a_control_that_is_as_good_forbids_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RIGHT, "shuffled_latents", RIGHT["world"])
    study = made_study(tmp_path)
    write_study(study)
    words = "not better, beyond interval and correction, than shuffled_latents (0 of 3 seeds)"
    assert found_in(study) == dict.fromkeys(("vsr", "captions"), (words,))
    reached = margins(tabulate(gather(study), study.parameters), study.parameters)
    with pytest.raises(MarginMissed) as caught:
        require_margins(reached)
    assert "+0.000 over shuffled_latents at seed 42" in caught.value.what
    assert "zero_latents" not in caught.value.what
    assert "at least +0.300" in caught.value.what


def test_controls_that_are_not_there_are_named(tmp_path: Path) -> None:
    study = made_study(tmp_path, arms=["base_gemma", "world", "zero_latents"], evaluation__least_margin=None)
    write_study(study)
    assert found_in(study)["vsr"] == ("not evaluated: random_projection, shuffled_latents, no_world_tokens",)
    rows = tabulate(gather(study), study.parameters)
    assert margins(rows, study.parameters) == []
    asked = made_study(tmp_path, arms=["base_gemma", "world", "zero_latents"])
    with pytest.raises(ConfigError, match=r"least_margin=0.3, and shuffled_latents is not evaluated"):
        margins(rows, asked.parameters)


def test_a_trained_language_model_needs_a_control_that_is_not_there(tmp_path: Path) -> None:
    thawed = {"training__thawed_rates": {"gemma_language": 1e-5}, "training__expected_trainable": 5}
    study = made_study(tmp_path, arms=["base_gemma", "world"], evaluation__least_margin=None, **thawed)
    write_study(study)
    assert any(line.startswith("a run that trains Gemma on the same data") for line in found_in(study)["vsr"])
