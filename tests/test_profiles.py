"""The shipped parameter sets: they parse, and their numbers are those of the sources and of the guide's table.

Exact values: molmo2 spec sections 2 (table of stages), 4.6 (rates), 6 (frames that fit) and 17.6 (schedule).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from trackyard.errors import ConfigError
from trackyard.feed.frames import frames_that_fit
from trackyard.plan.mixture import Mixture, MixtureParameters, rates
from trackyard.recipes.molmo2.parameters import STAGES, Molmo2Parameters, StageName, load_molmo2
from trackyard.train.engine import accumulation
from trackyard.train.optimiser import rates_at

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("mini", "seed", "report")
COMPONENTS = ("vit", "connector", "llm")


@pytest.fixture(scope="module", params=NAMES)
def profile(request: pytest.FixtureRequest) -> Molmo2Parameters:
    return load(request.param)


@cache
def load(name: str) -> Molmo2Parameters:
    return load_molmo2(ROOT / "profiles" / f"{name}.yaml")


def column(name: str, attribute: str) -> list[Any]:
    """A parameter in the three stages."""
    return [getattr(load(name).stage(stage), attribute) for stage in STAGES]


def of_rates(name: str, attribute: str) -> list[tuple[float, ...]]:
    """(vit, connector, llm) in the three stages."""
    return [
        tuple(getattr(load(name).stage(stage).optimiser.rates[part], attribute) for part in COMPONENTS)
        for stage in STAGES
    ]


def test_the_parameters_in_force_are_the_mini_profile() -> None:
    shipped, kept = (
        yaml.safe_load(path.read_text()) for path in (ROOT / "params.yaml", ROOT / "profiles" / "mini.yaml")
    )
    assert shipped == kept, "params.yaml and profiles/mini.yaml differ: cp params.yaml profiles/mini.yaml"


@pytest.mark.parametrize("name", ["seed", "report"])
def test_a_profile_can_take_the_place_of_params_yaml(name: str) -> None:
    """dvc.yaml names parameters that must be there, so a profile holds every key of params.yaml."""
    here = yaml.safe_load((ROOT / "params.yaml").read_text())["molmo2"]
    there = yaml.safe_load((ROOT / "profiles" / f"{name}.yaml").read_text())["molmo2"]
    assert set(there) == set(here)
    for stage in STAGES:
        assert set(there[stage]) == set(here[stage])


def test_a_wrong_number_in_a_profile_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "seed.yaml"
    path.write_text((ROOT / "profiles" / "seed.yaml").read_text().replace("packs_per_step: 256", "packs_per_step: 0"))
    with pytest.raises(ConfigError, match=r"stage3\.packs_per_step=0"):
        load_molmo2(path)


@pytest.mark.parametrize(
    ("attribute", "seed", "report"),
    [
        ("steps", [100_000, 50_000, 2_000], [32_000, 30_000, 2_000]),
        ("packs_per_step", [512, 512, 256], [128, 128, 128]),
        ("max_tokens", [4_096, 4_096, 36_864], [2_560, 16_384, 36_864]),
        ("max_inputs", [128, 128, 384], [16, 128, 384]),
        ("input_weight", [1, 30, 30], [1, 30, 30]),
        ("save_every", [5_000, 2_000, 500], [5_000, 2_000, 500]),
        ("point_format", ["html-v1", "html-v2", "html-v2"], ["html-v1", "html-v2", "html-v2"]),
    ],
)
def test_the_table_of_stages(attribute: str, seed: list[Any], report: list[Any]) -> None:
    assert column("seed", attribute) == seed
    assert column("report", attribute) == report


def test_learning_rates_and_warm_ups() -> None:
    assert of_rates("seed", "learning_rate") == [(1e-4,) * 3, (5e-5,) * 3, (3e-5,) * 3]
    assert of_rates("seed", "warmup_steps") == [(2000,) * 3, (1000,) * 3, (100,) * 3]
    assert of_rates("report", "learning_rate") == [(6e-6, 2e-4, 2e-5), (5e-6, 5e-6, 1e-5), (5e-6, 5e-6, 1e-5)]
    assert of_rates("report", "warmup_steps") == [(2000, 200, 2000), (200,) * 3, (200,) * 3]


@pytest.mark.parametrize("name", ["seed", "report"])
def test_what_both_sets_share(name: str) -> None:
    found = load(name)
    assert found.geometry.model_dump() == {
        "crop_size": 378, "patch_size": 14, "margin": (4, 4), "image_pooling": 2, "video_pooling": 3, "max_crops": 8,
    }  # fmt: skip
    assert found.pointing_crops == 24
    assert found.model.start == "assemble"
    for stage in STAGES:
        optimiser = found.stage(stage).optimiser
        assert (optimiser.beta1, optimiser.beta2, optimiser.eps) == (0.9, 0.95, 1e-6)
        assert (optimiser.weight_decay, optimiser.clip_norm) == (0.0, 1.0)


def test_presets_and_video() -> None:
    assert (load("seed").model.preset, load("report").model.preset) == ("nano", "4b")
    for name, fit in (("seed", "reduce"), ("report", "error")):
        assert [(video.max_frames, video.fps, video.fit) for video in column(name, "video")] == [
            (128, 2.0, fit),
            (128, 2.0, fit),
            (384, 2.0, fit),
        ]


@pytest.mark.parametrize(("name", "processes"), [("seed", (1, 2, 4)), ("report", (1, 2, 4, 8))])
def test_b_divides_over_processes(name: str, processes: tuple[int, ...]) -> None:
    found = load(name)
    assert found.processes in processes
    for stage in STAGES:
        for world in processes:
            micro = found.engine.micro_batch
            assert micro * world * accumulation(found.stage(stage).packs_per_step, micro, world) == (
                found.stage(stage).packs_per_step
            )


@pytest.mark.parametrize(("split", "stage"), [((32, 4), "stage1"), ((16, 8), "stage2"), ((4, 16), "stage3")])
def test_b_of_the_seed_is_its_batch_at_four_gpus(split: tuple[int, int], stage: StageName) -> None:
    micro, steps = split
    assert accumulation(load("seed").stage(stage).packs_per_step, micro, 4) == steps


def test_mini_divides_too() -> None:
    found = load("mini")
    for stage in STAGES:
        assert accumulation(found.stage(stage).packs_per_step, found.engine.micro_batch, found.processes) >= 1


@pytest.mark.parametrize(("stage", "tau", "fitting"), [("stage2", 6, 178), ("stage3", 7, 403)])
def test_frames_of_the_report_fit_its_packs(stage: StageName, tau: int, fitting: int) -> None:
    settings = load("report").stage(stage)
    found = frames_that_fit(settings.max_tokens, 10**6, tau, 83, settings.video.text_reserve)
    assert found == fitting
    assert settings.video.max_frames <= min(found, settings.max_inputs)


def test_frames_of_the_seed_do_not_and_are_reduced() -> None:
    settings = load("seed").stage2
    assert frames_that_fit(settings.max_tokens, settings.max_inputs, 6, 83, settings.video.text_reserve) == 40
    assert settings.video.fit == "reduce"


@pytest.mark.parametrize(
    ("stage", "component", "step", "rate"),
    [
        ("stage1", "llm", 1_000, 1e-5),
        ("stage1", "llm", 2_000, 2e-5),
        ("stage1", "llm", 17_000, 1.1e-5),
        ("stage1", "llm", 32_000, 2e-6),
        ("stage1", "connector", 16_100, 1.1e-4),
        ("stage2", "llm", 15_100, 5.5e-6),
        ("stage3", "vit", 1_100, 2.75e-6),
    ],
)
def test_the_schedule_of_the_report(stage: StageName, component: str, step: int, rate: float) -> None:
    settings = load("report").stage(stage)
    found = rates_at(step, settings.optimiser.rates, total=settings.steps)
    assert found[component] == pytest.approx(rate, rel=1e-12)


@pytest.mark.parametrize(("name", "saves"), [("seed", [20, 25, 4]), ("report", [6, 15, 4])])
def test_checkpoints_before_the_end(name: str, saves: list[int]) -> None:
    found = zip(column(name, "steps"), column(name, "save_every"), strict=True)
    assert [steps // every for steps, every in found] == saves


def complete(mixture: MixtureParameters) -> Mixture:
    """The rates where every dataset of the mixture is there with its published number of rows."""
    names = {
        name
        for group in mixture.groups.values()
        for entry in group.entries
        for name in ([entry.dataset] if isinstance(entry.dataset, str) else entry.dataset)
    }
    return rates(mixture, {name: mixture.reference_rows.get(name, 1) for name in names}, strict=True)


def percent(mixture: Mixture) -> dict[str, float]:
    return {entry.name: 100 * entry.rate for entry in mixture.entries}


def test_stage1_mixtures() -> None:
    seed = load("seed").stage1.mixture
    assert seed.kind == "fixed"
    assert seed.ratios == {
        "captions": {"pixmo-cap": 0.60},
        "pointing": {"pixmo-points": 0.15, "pixmo-count": 0.10, "cosyn-point": 0.05},
        "text": {"tulu": 0.10},
    }
    found = complete(load("report").stage1.mixture)
    groups: dict[str, float] = {}
    for entry in found.entries:
        groups[entry.group] = groups.get(entry.group, 0.0) + entry.rate
    assert groups == pytest.approx({"captions": 0.6, "pointing": 0.3, "text": 0.1})


def test_the_seed_draws_every_dataset_by_square_root() -> None:
    assert [load("seed").stage(stage).mixture.kind for stage in ("stage2", "stage3")] == ["sqrt", "sqrt"]


def test_the_report_goes_on_with_the_same_mixture() -> None:
    assert load("report").stage2.mixture == load("report").stage3.mixture


def test_groups_of_the_report() -> None:
    mixture = load("report").stage2.mixture
    total = sum(group.weight for group in mixture.groups.values())
    assert total == pytest.approx(1.10)
    assert {name: round(group.weight / total, 4) for name, group in mixture.groups.items()} == {
        "sft:captions_long_qa": 0.1364, "sft:image_qa": 0.2273, "sft:video_qa": 0.1818, "sft:image_pointing": 0.0909,
        "sft:video_pointing": 0.1364, "sft:tracking": 0.1364, "sft:nlp": 0.0905, "sft:hardcodes": 0.0005,
    }  # fmt: skip
    found = complete(mixture)
    assert found.distance == pytest.approx(0, abs=1e-12)
    # A-OKVQA is one dataset with two entries, and hard-coded answers are not counted among the 104.
    names = {"a-okvqa" if entry.name.startswith("a-okvqa") else entry.name for entry in found.entries}
    assert len(names - {"molmo2-hardcodes"}) == 104


@pytest.mark.parametrize(
    "expected",
    [
        {
            "molmo2-cap": 3.382, "pixmo-capqa": 3.108, "pixmo-cap": 2.255, "pixmo-askmodelanything": 1.900,
            "molmo2-multiimageqa": 1.513, "molmo2-askmodelanything": 1.479,
        },
        {
            "molmo2-videopoint": 10.909, "academicvideopoint-mevis": 1.239, "academicvideopoint-revos": 0.682,
            "academicvideopoint-lv-vis": 0.682, "academicvideopoint-ovis": 0.055, "academicvideopoint-burst": 0.042,
            "academicvideopoint-ref-davis17": 0.028,
        },
    ],
    ids=["captions", "video pointing"],
)  # fmt: skip
def test_exact_rates_of_the_report(expected: dict[str, float]) -> None:
    found = percent(complete(load("report").stage2.mixture))
    assert {name: round(found[name], 3) for name in expected} == expected


def test_captions_without_molmo2_cap() -> None:
    mixture = load("report").stage2.mixture
    sizes = {name: rows for name, rows in mixture.reference_rows.items() if name != "molmo2-cap"}
    found = rates(mixture, {**sizes, **{entry.dataset: 1 for entry in _fixed(mixture)}}, strict=False)
    assert found.missing == ("molmo2-cap",)
    captions = [round(100 * entry.rate, 3) for entry in found.entries if entry.group == "sft:captions_long_qa"]
    assert captions == [0.0, 4.133, 2.999, 2.527, 2.012, 1.966]


def _fixed(mixture: MixtureParameters) -> list[Any]:
    """Entries of one dataset whose mass does not depend on its size."""
    entries = [entry for group in mixture.groups.values() for entry in group.entries]
    return [entry for entry in entries if entry.size == "none" and isinstance(entry.dataset, str)]


# Published shares in per cent (Table 13 of the report); rounding of sizes there moves a rate by up to 0.06.
PUBLISHED = {
    "pixmo-clocks": 1.9, "llava-665k-multi": 1.5, "tallyqa": 1.4, "cosyn-chart": 1.3, "vqa-v2": 1.1, "docvqa": 0.7,
    "plotqa": 0.5, "dvqa": 0.4, "figureqa": 0.4, "scienceqa": 0.3, "synmultiimageqa-chemical": 0.2,
    "molmo2-capqa": 1.6, "molmo2-subtitleqa": 1.2, "video-localized-narratives": 1.1, "tgif-qa": 0.9, "tvqa": 0.9,
    "paxion": 0.9, "moments-in-time": 0.9, "kinetics-710": 0.9, "llava-video-academic": 0.9, "coin": 0.7,
    "next-qa": 0.2, "social-iq-2": 0.1, "pixmo-points": 4.6, "molmo2-multiimagepoint": 2.0, "pixmo-count": 1.2,
    "cosyn-point": 1.2, "tulu": 9.05, "molmo2-hardcodes": 0.045, "molmo2-videotrack": 4.6, "mevis": 2.0, "vicas": 1.2,
    "moca-video": 0.01,
}  # fmt: skip


def test_rates_of_the_report_are_the_published_shares() -> None:
    found = percent(complete(load("report").stage2.mixture))
    assert {name: found[name] for name in PUBLISHED} == pytest.approx(PUBLISHED, abs=0.06)
    assert found["a-okvqa-mc"] + found["a-okvqa-da"] == pytest.approx(1.0, abs=0.05)


def table(name: str) -> str:
    """A value set as docs/molmo2.md shows it."""
    stages = [load(name).stage(stage) for stage in STAGES]

    def three(values: list[float]) -> str:
        shown = [f"{value:g}" for value in values]
        return shown[0] if len(set(shown)) == 1 else " / ".join(shown)

    cells = {
        "steps": [f"{stage.steps:,}" for stage in stages],
        "B, packs per step": [f"{stage.packs_per_step:,}" for stage in stages],
        "L, tokens per pack": [f"{stage.max_tokens:,}" for stage in stages],
        "I, visual inputs per pack": [f"{stage.max_inputs:,}" for stage in stages],
        "F, frames per video at most": [f"{stage.video.max_frames:,}" for stage in stages],
        "S, frames per second": [f"{stage.video.fps:g}" for stage in stages],
        "where F frames do not fit": [stage.video.fit for stage in stages],
        "learning rate, vit / connector / llm": [
            three([stage.optimiser.rates[part].learning_rate for part in COMPONENTS]) for stage in stages
        ],
        "warm-up steps, vit / connector / llm": [
            three([stage.optimiser.rates[part].warmup_steps for part in COMPONENTS]) for stage in stages
        ],
        "checkpoint every … steps": [f"{stage.save_every:,}" for stage in stages],
        "kind of mixture": [stage.mixture.kind for stage in stages],
        "point format": [str(stage.point_format) for stage in stages],
    }
    lines = [f"| `{name}` | " + " | ".join(STAGES) + " |", "|---|" + "---|" * len(STAGES)]
    return "\n".join([*lines, *(f"| {label} | " + " | ".join(values) + " |" for label, values in cells.items())])


@pytest.mark.parametrize("name", NAMES)
def test_the_table_of_the_guide(name: str) -> None:
    guide = (ROOT / "docs" / "molmo2.md").read_text()
    assert table(name) in guide, f"docs/molmo2.md should hold this table of the profile {name}:\n{table(name)}"


def test_every_profile_that_is_there_is_tested() -> None:
    """Here the value sets of Molmo2; what extends one is in tests/test_device_profiles.py, and the studies of Pile-FFN
    are in tests/test_pile_ffn_profiles.py."""
    there = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / "profiles").glob("*.yaml")}
    found = [name for name, values in there.items() if "extends" not in values and "molmo2" in values]
    assert sorted(found) == sorted(NAMES)


def test_a_profile_is_what_it_says(profile: Molmo2Parameters) -> None:
    """Every stage of every profile names a rate for each component, and scores that can be computed."""
    for stage in STAGES:
        assert set(profile.stage(stage).optimiser.rates) == set(COMPONENTS)
    assert all(profile.validation.datasets.values())
