from pathlib import Path

import pytest
from PIL import Image

from tests.recipes.pile_ffn.made_results import NLL, made_study, write_study
from trackyard.recipes.pile_ffn.report.figures import PALETTES, draw_figures
from trackyard.recipes.pile_ffn.report.gathering import gather
from trackyard.recipes.pile_ffn.report.rows import ArmRow
from trackyard.recipes.pile_ffn.report.table import tabulate


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[ArmRow]:
    study = made_study(tmp_path_factory.mktemp("study"), seeds=(42, 1337))
    write_study(study)
    return tabulate(gather(study), study.parameters.cells, resamples=100)


def test_every_figure_as_a_picture_and_as_text(rows: list[ArmRow], tmp_path: Path) -> None:
    made = draw_figures(rows, tmp_path)
    assert [name for name, _ in made] == ["robustness.png", "components.png", "benchmarks.png", "order.png"]
    for name, caption in made:
        assert caption
        picture = Image.open(tmp_path / name)
        assert picture.width > 900
        assert len(set(picture.convert("RGB").resize((200, 100)).getdata())) > 20  # something is drawn
        text = (tmp_path / name).with_suffix(".svg").read_text()
        for arm in NLL:
            assert f">{arm}<" in text


def test_every_kind_of_arm_has_colours_of_its_own() -> None:
    colours = [colour for palette in PALETTES.values() for colour in palette]
    assert len(set(colours)) == len(colours)
    assert set(PALETTES) == {"untouched", "baseline", "nonneg", "signfrozen", "absinit", "degraded"}
