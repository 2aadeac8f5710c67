"""The estimate of the whole study: every job, what it costs, what a site does not allow and the change that it would.

Source: pile-ffn spec section 13, and the dry run of the issue: Pythia-1.4B, 7 arms, 3 seeds, A100 and H200.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from trackyard.errors import ConfigError
from trackyard.estimate.calibration import Calibration
from trackyard.estimate.devices import DEVICES
from trackyard.estimate.forecast import Machine
from trackyard.launch.sites import Site, load_site
from trackyard.recipes.pile_ffn.cost.estimating import SCHEMA, StudyEstimate, estimate, estimate_study
from trackyard.recipes.pile_ffn.cost.lines import lines, summary, to_json
from trackyard.recipes.pile_ffn.parameters import PileFfnParameters, load_pile_ffn
from trackyard.recipes.pile_ffn.study import Study
from trackyard.schema import read_document

ROOT = Path(__file__).resolve().parents[4]
SITE = load_site("slurm-template", ROOT)


def parameters(name: str) -> PileFfnParameters:
    return load_pile_ffn(ROOT / "profiles" / f"{name}.yaml")


def changed_site(partition: dict[str, Any] | None = None, **scratch: Any) -> Site:
    """The template with other limits."""
    values = SITE.model_dump()
    for facts in values["partitions"].values():
        facts.update(partition or {})
    values["scratch"].update(scratch)
    return Site.model_validate(values)


def estimated(
    device: str, site: Site = SITE, study: PileFfnParameters | None = None, *, profile: str | None = None
) -> StudyEstimate:
    found = DEVICES[device]
    assumed = Calibration(rate=found.rate, reserved=found.reserved_bytes, source="assumed")
    name = profile or {"a100-80": "pythia-1.4b-a100", "h200": "pythia-1.4b-h200"}[device]
    where = site.partition_for(device)
    return estimate_study(
        study or parameters(name), Machine(site=site, partition_name=where, device=found), assumed
    )  # fmt: skip


@cache
def dry_run(device: str) -> StudyEstimate:
    return estimated(device)


@pytest.mark.parametrize(("device", "cell_hours"), [("a100-80", 14.64), ("h200", 4.62)])
def test_the_dry_run_of_the_whole_study(device: str, cell_hours: float) -> None:
    found = dry_run(device)
    assert found.fits, found.changes
    assert len(found.jobs) == 41
    assert found.training.hours == pytest.approx(cell_hours, rel=0.01)
    train = [job for job in found.jobs if job.stage == "train"]
    assert len(train) == 18
    # Beyond its steps a cell is started, scored once and exported.
    assert all(found.training.hours < job.hours < found.training.hours + 1 for job in train)
    assert found.gpu_hours == pytest.approx(sum(job.hours for job in found.jobs if job.gpus))
    assert found.service_units == found.gpu_hours
    assert found.training.checkpoint_bytes == 16_975_773_696
    assert 2 * found.training.hours < found.hours < found.gpu_hours


def test_an_a100_is_as_fast_as_the_published_run_within_a_quarter() -> None:
    assert dry_run("a100-80").training.step.tokens_per_s == pytest.approx(11_006, rel=0.25)
    assert dry_run("h200").gpu_hours < 0.5 * dry_run("a100-80").gpu_hours


@pytest.mark.parametrize("device", ["a100-80", "h200"])
def test_what_is_printed(device: str) -> None:
    text = "\n".join(lines(dry_run(device)))
    assert "7 arms x 3 seeds and the untouched model, 655,360,000 tokens each" in text
    assert f"{device}" in text
    for stage in ("fetch", "tokenize", "untouched", "init", "train", "degrade", "evaluate", "attack", "transfer"):
        assert f"\n{stage} " in text
    for words in ("GPU-hours", "service units of GPU credits", "16.98 GB", "16.54 h a cell, 297.7 h for 18", "assumed"):
        assert words in text
    assert text.endswith("\nfits")
    assert max(map(len, text.splitlines())) <= 150


def test_the_document() -> None:
    found = to_json(dry_run("a100-80"))
    assert [job["name"] for job in found["jobs"]][:4] == ["fetch", "tokenize", "untouched", "init"]
    train = next(job for job in found["jobs"] if job["name"] == "train@nonneg_mlp_both-1337")
    assert train["waits_for"] == ("tokenize", "untouched", "init")
    assert found["arithmetic"]["flop_per_token"] == 6 * 1_414_647_808
    assert found["arithmetic"]["packed_bytes_per_slice"] == 1_310_720_000
    assert found["arithmetic"]["reference"]["trained_cells_hours"] == pytest.approx(297.7, abs=0.05)
    assert found["arithmetic"]["reference"]["legacy_steps"] == {"5": 14_065, "10": 28_130}
    assert (found["fits"], found["smallest_change"]) == (True, None)


def test_a_short_limit_on_time_means_attempts() -> None:
    found = estimated("a100-80", changed_site({"max_hours": 12.0}))
    train = next(job for job in found.jobs if job.stage == "train")
    assert train.attempts == 2
    assert found.training.jobs == 2
    assert found.fits


def test_a_part_that_cannot_be_interrupted_must_fit_into_a_job() -> None:
    """A degraded arm is matched in 20 evaluations, which are not kept one by one."""
    found = estimated("a100-80", changed_site({"max_hours": 8.0}))
    assert not found.fits
    assert [check.name for check in found.checks if not check.ok] == ["longest part of a job"]
    assert found.changes == ("a partition whose jobs may take 12 h",)
    assert lines(found)[-1].startswith(
        "does not fit: longest part of a job; the smallest change that does: a partition"
    )


@pytest.mark.parametrize(
    ("quota_tb", "change"),
    [
        (2.1, "the checkpoints of each finished run removed"),
        (1.9, "engine.keep_checkpoints -> 2, and those of each finished run removed"),
        (1.6, "engine.keep_checkpoints -> 1, and those of each finished run removed"),
        (1.0, "engine.keep_checkpoints -> 1, 8 cells trained at once, finished runs' checkpoints removed"),
        (0.3, "a file system with 570 GB for the study alone"),
    ],
)
def test_a_small_disk_is_told_the_smallest_change(quota_tb: float, change: str) -> None:
    found = estimated("a100-80", changed_site(quota_tb=quota_tb))
    assert not found.fits
    assert found.changes[0].startswith(change)


def test_files_are_limited_too() -> None:
    found = estimated("a100-80", changed_site(max_files=1_000))
    assert [check.name for check in found.checks if not check.ok] == ["files on scratch"]


def test_memory_counts_the_effective_weights_of_the_largest_arm() -> None:
    """Without checkpointing 4.83 GB of W, and the signs of the arm that keeps them, are held besides."""
    study = parameters("pythia-1.4b-a100")
    engine = study.engine.model_copy(update={"activation_checkpointing": "none", "micro_batch": 1})
    found = estimated("a100-80", study=study.model_copy(update={"engine": engine}))
    assert found.constrained_bytes == pytest.approx(4.83e9 + 0.81e9, rel=2e-3)
    free = estimated(
        "a100-80",
        study=study.model_copy(
            update={"engine": engine, "arms": ("baseline",), "degraded": (), "measured": ("untouched", "baseline")}
        ),
    )
    assert free.constrained_bytes == 0
    needed = [next(check.needed for check in one.checks if check.name == "memory of a GPU") for one in (found, free)]
    assert needed[0] - needed[1] == pytest.approx(found.constrained_bytes)


def test_a_model_that_is_too_large_names_the_engine_setting() -> None:
    study = parameters("pythia-1.4b-a100")
    large = study.model.model_copy(update={"size": "pythia-6.9b"})
    found = estimated("a100-80", study=study.model_copy(update={"model": large}))
    assert not found.fits
    assert "memory of a GPU" in [check.name for check in found.checks if not check.ok]
    assert any("offload_optimizer" in change or "zero_stage" in change for change in found.changes)
    unknown = study.model.model_copy(update={"size": None})
    with pytest.raises(ConfigError, match="no size None"):
        estimated("a100-80", study=study.model_copy(update={"model": unknown}))


def test_the_stage_writes_the_estimate_of_the_parameters_in_force(tmp_path: Path) -> None:
    for name in ("params.yaml", "sites", "profiles"):
        (tmp_path / name).symlink_to(ROOT / name)
    said: list[str] = []
    estimate(Study(root=tmp_path, parameters=parameters("mini")), said.append)
    found = read_document(tmp_path / "artifacts/pile_ffn/estimate/estimate.json", SCHEMA, fix="")
    assert (found["device"], found["gpu_hours"], found["service_units"], found["fits"]) == ("cpu", 0.0, None, True)
    assert said[-1] == "fits"
    assert said[0] == summary(estimated("cpu", load_site("local", ROOT), profile="mini"))[0]


def test_without_a_scheduler_jobs_follow_each_other() -> None:
    found = estimated("cpu", load_site("local", ROOT), profile="mini")
    assert found.hours == pytest.approx(sum(job.hours for job in found.jobs))
    assert found.hours < 0.5


def test_a_model_of_unknown_size_is_said_to_have_no_estimate(tmp_path: Path) -> None:
    study = parameters("pythia-1.4b")
    model = study.model.model_copy(update={"size": None})
    said: list[str] = []
    estimate(Study(root=tmp_path, parameters=study.model_copy(update={"model": model})), said.append)
    found = read_document(tmp_path / "artifacts/pile_ffn/estimate/estimate.json", SCHEMA, fix="")
    assert found["fits"] is None
    assert said == ["no estimate: the size of EleutherAI/pythia-1.4b is not known (pile_ffn.model.size)"]
