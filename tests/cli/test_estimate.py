"""`trackyard estimate`: every profile and stage, exit codes, JSON, refusals, and no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from tests.estimate.world import recorded
from trackyard.cli.estimate import estimate
from trackyard.errors import ConfigError
from trackyard.estimate.calibration import FILE, SCHEMA, as_record
from trackyard.recipes.molmo2.parameters import STAGES
from trackyard.recipes.pile_ffn.cost.sizes import SIZES
from trackyard.schema import write_document

ROOT = Path(__file__).resolve().parents[2]
DEVICES = ("a100-40", "a100-80", "h100", "h200")
Ask = Callable[..., Result]
EIGHT_BILLION = ["zero_stage 0 -> 3", "offload_optimizer -> true", "GPUs 1 -> 2"]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with the shipped profiles and sites, without data, plans or measurements."""
    (tmp_path / "profiles").mkdir()
    for path in (ROOT / "profiles").glob("*.yaml"):
        (tmp_path / "profiles" / path.name).symlink_to(path)
    (tmp_path / "sites").symlink_to(ROOT / "sites")
    (tmp_path / "params.yaml").symlink_to(ROOT / "params.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def ask(root: Path) -> Ask:
    app = typer.Typer()
    app.command()(estimate)

    def call(*arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(app, list(arguments))
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result

    return call


def told(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.output)
    assert found["schema"] == "trackyard-estimate/1"
    return found


@pytest.mark.parametrize("profile", DEVICES)
@pytest.mark.parametrize("stage", STAGES)
def test_every_device_profile_fits_its_device(ask: Ask, profile: str, stage: str) -> None:
    found = told(ask("molmo2", stage, "--profile", profile, "--json"))
    assert found["fits"]
    assert found["device"] == profile
    memory = next(check for check in found["checks"] if check["name"] == "memory of a GPU")
    assert memory["needed"] < 0.9 * memory["limit"], "what is predicted was not measured: leave it room"


@pytest.mark.parametrize("profile", DEVICES)
@pytest.mark.parametrize("stage", STAGES)
def test_the_seed_fits_too_or_is_told_what_to_change(ask: Ask, profile: str, stage: str) -> None:
    code = 1 if (profile, stage) == ("h100", "stage1") else 0
    found = told(ask("molmo2", stage, "--profile", profile, "--base", "seed", "--json", code=code))
    assert found["preset"] == "nano"
    assert found["smallest_change"] == (["activation_checkpointing selective -> full"] if code else None)


@pytest.mark.parametrize("profile", ["mini", "laptop"])
@pytest.mark.parametrize("stage", STAGES)
def test_small_profiles(ask: Ask, profile: str, stage: str) -> None:
    found = told(ask("molmo2", stage, "--profile", profile, "--json"))
    assert (found["device"], found["gpu_hours"], found["service_units"]) == ("cpu", 0.0, None)


def test_a_table(ask: Ask) -> None:
    text = ask("molmo2", "stage2", "--profile", "h100", "--site", "anvil").output
    for words in (
        "masters and moments",
        "GPU-hours",
        "service units of AI credits",
        "jobs, one after the other",
        "MFU",
    ):
        assert words in text
    assert "no plan is built" in text
    assert "no run on h100 is recorded: 38% of the nominal peak are assumed" in text
    assert text.rstrip().endswith("fits")


def test_what_does_not_fit_ends_with_1_and_the_smallest_change(ask: Ask) -> None:
    text = ask("pile_ffn", "train", "--profile", "h100", "--preset", "pythia-6.9b", code=1).output
    last = text.rstrip().splitlines()[-1]
    assert last.startswith("does not fit: memory of a GPU; the smallest change that does: offload_optimizer -> true")


def test_what_one_change_does_not_mend_several_do(ask: Ask) -> None:
    arguments = ("pile_ffn", "train", "--profile", "h100", "--site", "anvil", "--preset", "llama-3.1-8b", "--json")
    assert told(ask(*arguments, code=1))["smallest_change"] == EIGHT_BILLION


def test_the_arithmetic_of_theworld_is_printed(ask: Ask) -> None:
    """theworld spec section 16."""
    text = ask("datacomp", "train", "--preset", "100k", "--profile", "h200", "--gpus", "4").output
    for words in (
        "18,750 steps",
        "15.6 h",
        "375 saves, 31.25 to 62.5 h",
        "57.4 GB",
        "38 saves",
        "64 of 64 world tokens",
    ):
        assert words in text


@pytest.mark.parametrize("profile", ["theworld-10k", "theworld-100k", "theworld-full"])
@pytest.mark.parametrize(("device", "partition"), [("a100", "a100"), ("h200", "gpu")])
def test_the_whole_track_of_theworld(ask: Ask, profile: str, device: str, partition: str) -> None:
    arguments = ("datacomp", "study", "--profile", f"{profile}-{device}", "--site", "slurm-template")
    text = ask(*arguments).output
    assert f"on slurm-template/{partition}" in text
    assert text.rstrip().endswith("fits")
    found = json.loads(ask(*arguments, "--gpus", "2", "--json").output)
    assert found["schema"] == "trackyard-datacomp-estimate/1"
    assert (len(found["jobs"]), found["gpus"], found["fits"]) == (22, 2, True)


@pytest.mark.parametrize("preset", SIZES)
def test_every_size_fits_four_h200_or_is_told_what_to_change(ask: Ask, preset: str) -> None:
    arguments = ("pile_ffn", "train", "--profile", "h200", "--gpus", "4", "--preset", preset, "--json")
    code = 1 if preset in ("pythia-12b", "qwen2.5-14b") else 0
    found = told(ask(*arguments, code=code))
    assert found["preset"] == preset
    assert bool(found["smallest_change"]) is bool(code)


def test_a_profile_of_a_study_is_estimated_as_it_stands(ask: Ask) -> None:
    found = told(ask("pile_ffn", "train", "--profile", "pythia-1.4b-h200", "--json"))
    assert (found["preset"], found["device"], found["steps"]) == ("pythia-1.4b", "h200", 10_000)
    mini = told(ask("pile_ffn", "train", "--json"))
    assert (mini["preset"], mini["device"], mini["gpu_hours"]) == ("tiny-gpt-neox", "cpu", 0.0)


@pytest.mark.parametrize(("profile", "partition"), [("pythia-1.4b-a100", "a100"), ("pythia-1.4b-h200", "gpu")])
def test_a_whole_study(ask: Ask, profile: str, partition: str) -> None:
    arguments = ("pile_ffn", "study", "--profile", profile, "--site", "slurm-template")
    text = ask(*arguments).output
    assert f"on slurm-template/{partition}" in text
    assert text.rstrip().endswith("fits")
    found = json.loads(ask(*arguments, "--json").output)
    assert found["schema"] == "trackyard-pile-ffn-estimate/1"
    assert (len(found["jobs"]), found["fits"]) == (41, True)
    several = json.loads(ask(*arguments, "--gpus", "4", "--json").output)
    assert {job["gpus"] for job in several["jobs"] if job["stage"] == "train"} == {4}


def test_a_study_that_does_not_fit_ends_with_1(ask: Ask) -> None:
    arguments = ("pile_ffn", "study", "--profile", "pythia-1.4b-a100", "--site", "anvil", "--partition", "gpu-debug")
    last = ask(*arguments, code=1).output.rstrip().splitlines()[-1]
    assert last.startswith("does not fit: ")
    assert "a partition whose jobs may take" in last


def test_errors_of_recorded_runs_are_printed(ask: Ask, root: Path) -> None:
    write_document(root / FILE, SCHEMA, {"runs": [as_record(one) for one in recorded()]})
    text = ask("molmo2", "stage1").output
    assert text.count("error on molmo2 stage") == 3
    assert "measured at 000000000000" in text


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("molmo2", "stage4"), "no stage 'stage4' of track 'molmo2'"),
        (("nine", "train"), "no stage 'train' of track 'nine'"),
        (("molmo2", "stage1", "--profile", "b200"), "there is no profile 'b200'"),
        (("molmo2", "stage1", "--profile", "h200", "--site", "anvil"), "site anvil has no h200"),
        (("molmo2", "stage1", "--site", "mars"), "there is no site 'mars'"),
        (("molmo2", "stage1", "--profile", "report"), "report.yaml computes in bf16"),
        (("molmo2", "stage1", "--profile", "h100", "--gpus", "12"), "packs_per_step=128 is not a multiple"),
        (("molmo2", "stage1", "--profile", "mini", "--base", "seed"), "'seed' is asked for instead"),
    ],
)
def test_wrong_usage_ends_with_2(ask: Ask, arguments: tuple[str, ...], what: str) -> None:
    with pytest.raises(ConfigError, match=what) as raised:
        ask(*arguments)
    assert raised.value.exit_code == 2


def imported(names: set[str]) -> list[str]:
    """Which of these modules an estimate and the parameters import, in a process of their own."""
    code = (
        "import sys, trackyard.recipes.stages, trackyard.cli.estimate_printing, trackyard.recipes.molmo2.parameters;"
        "import trackyard.recipes.pile_ffn.cost.lines, trackyard.recipes.pile_ffn.cost.room;"
        "import trackyard.recipes.datacomp.cost.lines;"
        f"print(*sorted({names!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_neither_parameters_nor_estimates_import_torch() -> None:
    """Both are asked for by people who wait: importing torch takes longer than all of the arithmetic."""
    assert imported({"torch", "transformers", "deepspeed", "pydantic"}) == ["pydantic"]
