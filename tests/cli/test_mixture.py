"""`trackyard mixture show|diff|plot`: rates without a plan, without torch, of this snapshot or of the whole recipe."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.stage_world import ROWS, Typed, make_root, plan_of, type_into, write_parameters
from trackyard.catalog import entries
from trackyard.cli.mixture import app
from trackyard.cli.stage_settings import fitting_plans, read_settings
from trackyard.durable import TEMPORARY
from trackyard.errors import ConfigError, DataError

REPOSITORY = Path(__file__).parents[2]
LOAD = entries.load_catalogue


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path)


@pytest.fixture
def shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped catalogue, read once for all tests."""
    monkeypatch.setattr(entries, "load_catalogue", lambda directory: _shipped())


@functools.cache
def _shipped() -> dict[str, entries.Entry]:
    return LOAD(REPOSITORY / "catalog")


def test_rows_rates_and_repeats(root: Path) -> None:
    typed = type_into(app, root, "show", "stage1", "--rows-per-pack", "5")
    lines = {line.split()[0]: line.split()[1:] for line in typed.out.splitlines()}
    assert lines["pixmo-cap"] == ["captions", "120", "60.000", "60.000", "+0.000", "0.60"]
    assert lines["tulu"] == ["text", "30", "10.000", "10.000", "+0.000", "0.40"]
    assert "total variation: 0.0000" in typed.out
    assert "epochs over 120 rows: 24 packs, 5 rows per pack" in typed.out


def test_what_is_missing_is_said_and_strict_stops(root: Path) -> None:
    write_parameters(
        root / "params.yaml",
        mixture={"kind": "fixed", "ratios": {"g": {"tulu": 0.5, "gone": 0.25}, "h": {"pixmo-cap": 0.25}}},
    )
    typed = type_into(app, root, "show", "stage1")
    assert "missing: gone" in typed.out
    assert "3 entries, 1 missing" in typed.out
    assert "total variation: 0.2500" in typed.out
    body = type_into(app, root, "show", "stage1", "--json").json()
    assert body["missing"] == ["gone"]
    assert [entry["rows"] for entry in body["entries"]] == [30, None, 120]
    with pytest.raises(ConfigError, match="1 of 3 mixture entries have no rows: gone"):
        type_into(app, root, "show", "stage1", "--strict")


def test_repeats_are_limited_by_option_and_by_parameter(root: Path) -> None:
    line = ("show", "stage1", "--rows-per-pack", "15", "--json")
    free = type_into(app, root, *line).json()
    assert max(entry["epochs"] for entry in free["entries"]) == pytest.approx(1.8)
    assert free["capped"] == []
    for typed in (
        type_into(app, root, *line, "--max-epochs", "1.75"),
        (
            write_parameters(root / "params.yaml", mixture={"kind": "fixed", "max_epochs": 1.75, "ratios": {
                "captions": {"pixmo-cap": 0.6}, "pointing": {"pixmo-points": 0.3}, "text": {"tulu": 0.1}}}),
            type_into(app, root, *line),
        )[1],
    ):  # fmt: skip
        body = typed.json()
        assert max(entry["epochs"] for entry in body["entries"]) <= 1.75 + 1e-9
        assert {cut["dataset"] for cut in body["capped"]} == {"pixmo-cap", "pixmo-points"}
        assert sum(entry["rate"] for entry in body["entries"]) == pytest.approx(1)
    with pytest.raises(ConfigError, match="every dataset would be repeated") as caught:
        type_into(app, root, *line, "--max-epochs", "1")
    assert "58.3%" in caught.value.why


def test_draws_are_those_of_the_plan_that_is_there(root: Path) -> None:
    before = type_into(app, root, "show", "stage1", "--json").json()
    assert before["draws"] == pytest.approx(24 * 3.8)
    plan = plan_of(root)
    after = type_into(app, root, "show", "stage1", "--json").json()
    assert after["draws"] == pytest.approx(plan.summary["totals"]["rows"])
    assert plan.directory.name in after["draws_from"]


@pytest.mark.parametrize(
    "change", [{"steps": 7}, {"max_tokens": 999}, {"input_weight": 2}, {"mixture": {"kind": "sqrt"}}, {}], ids=str
)
def test_only_a_plan_of_these_settings_fits(root: Path, change: dict[str, object]) -> None:
    plan_of(root)
    write_parameters(root / "other.yaml", **change)
    found = fitting_plans(root, read_settings(root, Path("other.yaml"), "stage1"))
    assert len(found) == (0 if change else 1)


def test_a_plan_that_is_being_built_is_not_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, settings = plan_of(root), read_settings(root, Path("params.yaml"), "stage1")
    building = plan.directory.with_name(f"{TEMPORARY}{plan.directory.name}.1.2")
    shutil.copytree(plan.directory, building)
    real, looks = Path.stat, []

    def built(path: Path, **given: bool) -> os.stat_result:
        """Renamed once it has been listed."""
        looks.extend([path] if path.parent == building else [])
        if len(looks) == 2:
            shutil.rmtree(building)
        return real(path, **given)

    monkeypatch.setattr(Path, "stat", built)
    assert [folder for folder, _ in fitting_plans(root, settings)] == [plan.directory]


def test_a_plan_of_other_data_does_not_fit(root: Path) -> None:
    plan_of(root)
    manifest = root / "data" / "mini" / "tulu" / "manifest.json"
    manifest.write_text(manifest.read_text().replace("CC0-1.0", "ODC-BY"))
    assert fitting_plans(root, read_settings(root, Path("params.yaml"), "stage1")) == []


def test_the_whole_recipe_without_any_data_or_anything_heavy() -> None:
    code = (
        "import sys; from trackyard.cli.mixture import app; "
        "app(['show', 'stage2', '--params', 'profiles/report.yaml', '--sizes', 'catalog', '--json'], "
        "standalone_mode=False); "
        "sys.exit(str(sorted({'torch', 'transformers', 'numpy', 'pyarrow', 'matplotlib'} & set(sys.modules)) or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "", done.stderr
    body = Typed(0, done.stdout).json()
    rates = {entry["name"]: 100 * entry["rate"] for entry in body["entries"]}
    assert len(rates) == 106
    assert rates["molmo2-cap"] == pytest.approx(3.382, abs=5e-4)
    assert body["groups"]["sft:video_qa"]["rate"] == pytest.approx(0.18182, abs=5e-6)
    assert body["total_variation"] == pytest.approx(0)
    assert body["missing"] == body["unsized"] == []
    assert body["draws"] == pytest.approx(30_000 * 128 * 3.8)
    unknown = {entry["name"]: entry["epochs"] for entry in body["entries"] if entry["rows"] is None}
    assert unknown == {"molmo2-hardcodes": None}


@pytest.mark.usefixtures("shipped")
def test_flat_kinds_take_the_catalogue_s_datasets_of_the_stage() -> None:
    line = ("show", "stage2", "--params", "profiles/seed.yaml", "--sizes", "catalog", "--json")
    body = type_into(app, REPOSITORY, *line).json()
    assert len(body["entries"]) == 104
    assert body["unsized"] == ["molmo2-hardcodes"]


def test_two_mixtures_side_by_side(root: Path) -> None:
    body = type_into(app, root, "diff", "params.yaml:stage1", "params.yaml", "--sizes", "snapshot", "--json").json()
    a = {"pixmo-cap": 0.6, "pixmo-points": 0.3, "tulu": 0.1}
    total = sum(rows**0.5 for rows in ROWS.values())
    b = {name: rows**0.5 / total for name, rows in ROWS.items()}
    assert {item["dataset"]: item["a"] for item in body["datasets"]} == pytest.approx(a)
    assert {item["dataset"]: item["b"] for item in body["datasets"]} == pytest.approx(b)
    assert body["total_variation"] == pytest.approx(0.5 * sum(abs(a[name] - b[name]) for name in a))
    text = type_into(app, root, "diff", "params.yaml:stage1", "params.yaml:stage1", "--sizes", "snapshot").out
    assert "3 datasets, 0 of them drawn differently" in text


@pytest.mark.usefixtures("shipped")
def test_parts_of_a_dataset_are_one_dataset() -> None:
    """The report draws A-OKVQA as two entries, the founding recipe as one."""
    typed = type_into(app, REPOSITORY, "diff", "profiles/report.yaml", "profiles/seed.yaml", "--json")
    found = {item["dataset"]: item for item in typed.json()["datasets"]}
    assert "a-okvqa-mc" not in found
    assert found["a-okvqa"]["a"] == pytest.approx(0.0098, abs=1e-4)
    assert found["a-okvqa"]["b"] > 0


def test_a_figure(root: Path) -> None:
    plan_of(root)
    typed = type_into(app, root, "plot", "stage1", "--out", "figures/mixture.svg")
    assert typed.out == "wrote figures/mixture.svg\n"
    text = (root / "figures" / "mixture.svg").read_text(encoding="utf-8")
    assert "Mixture of stage1, params.yaml: 24 packs" in text
    assert "tokens of the plan" in text
    with pytest.raises(ConfigError, match="--out mixture"):
        type_into(app, root, "plot", "stage1", "--out", "mixture.jpg")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (("show", "stage4"), "no stage 'stage4'"),
        (("show", "stage3"), "lacks stage3"),
        (("show", "stage1", "--params", "none.yaml"), "does not exist"),
        (("show", "stage1", "--sizes", "guess"), "--sizes 'guess'"),
    ],
)
def test_refusals(root: Path, line: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        type_into(app, root, *line)


def test_without_a_snapshot_the_catalogue_is_pointed_at(root: Path) -> None:
    (root / "data").rename(root / "elsewhere")
    with pytest.raises(DataError, match="no snapshot in data/mini") as caught:
        type_into(app, root, "show", "stage1")
    assert "--sizes catalog" in caught.value.fix
