"""What can be published has a name; anything else is refused with the list."""

from __future__ import annotations

from pathlib import Path

import pytest

from trackyard.errors import ConfigError, DataError
from trackyard.recipes.publishing.names import Choices, publication_of

PARAMETERS = Path(__file__).parents[3] / "params.yaml"


@pytest.mark.parametrize(
    ("name", "listed"),
    [
        ("molmo2/stage4", "molmo2/stage1, molmo2/stage2, molmo2/stage3"),
        ("pile_ffn/baseline", "pile_ffn/untouched, pile_ffn/baseline-42"),
        ("datacomp/base_gemma", "datacomp/world-42"),
        ("nine/anything", "molmo2/NAME, pile_ffn/NAME, datacomp/NAME"),
        ("stage3", "molmo2/NAME"),
    ],
)
def test_a_name_of_nothing(tmp_path: Path, name: str, listed: str) -> None:
    with pytest.raises(ConfigError, match="is nothing that can be published") as caught:
        publication_of(name, tmp_path, PARAMETERS, Choices())
    assert listed in caught.value.why


@pytest.mark.parametrize(
    ("name", "choices", "what"),
    [
        ("pile_ffn/untouched", Choices(layout="hub"), "--layout hub with pile_ffn/untouched"),
        ("molmo2/stage3", Choices(form="bf16"), "--form bf16 with molmo2/stage3"),
        ("molmo2/stage3", Choices(base="copy"), "--base copy with molmo2/stage3"),
    ],
)
def test_a_choice_of_another_track(tmp_path: Path, name: str, choices: Choices, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        publication_of(name, tmp_path, PARAMETERS, choices)
    assert caught.value.what == what


@pytest.mark.parametrize("name", ["molmo2/stage3", "pile_ffn/baseline-42", "datacomp/world-42"])
def test_an_export_that_is_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"holds no lineage\.json") as caught:
        publication_of(name, tmp_path, PARAMETERS, Choices())
    assert caught.value.fix.startswith("dvc repro ")
