"""The dry run of the whole track: 10k, 100k and the pool of 12.8 M rows, on one and two H200 and on A100 sites."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.recipes.datacomp.cost.studies import ROOT, estimated, made, profile
from trackyard.errors import ConfigError
from trackyard.launch.sites import Site, load_site
from trackyard.recipes.datacomp.cost.estimating import SCHEMA, estimate
from trackyard.recipes.datacomp.cost.lines import lines, to_json
from trackyard.recipes.datacomp.cost.planning import Pace
from trackyard.recipes.datacomp.pinned import require_pinned
from trackyard.recipes.datacomp.study import Study
from trackyard.schema import read_document

SIZES = {"theworld-10k": 10_000, "theworld-100k": 100_000, "theworld-full": 7_680_000}


def changed_site(base: str = "slurm-template", partition: dict[str, Any] | None = None, **facts: Any) -> Site:
    values = load_site(base, ROOT).model_dump()
    for one in values["partitions"].values():
        one.update(partition or {})
    return Site.model_validate(values | facts)


def job(found: Any, stage: str) -> Any:
    return next(one for one in found.jobs if one.stage == stage)


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize(("device", "gpus"), [("h200", 1), ("h200", 2), ("a100-80", 1)])
def test_the_dry_run(name: str, device: str, gpus: int) -> None:
    found = estimated(name, device, gpus=gpus)
    assert found.fits, found.changes
    assert len(found.jobs) == 8 + 6 + 7 + 1
    assert found.parameters.data.samples == SIZES[name]
    assert (job(found, "train").gpus, job(found, "latents").gpus, job(found, "evaluate").gpus) == (gpus, gpus, 1)
    assert found.gpu_hours == found.service_units
    work = found.work
    parts = (work.download_hours / work.download_tasks, work.latent_hours, work.step_hours, work.save_hours)
    assert work.whole_hours == pytest.approx(sum(parts))
    text = lines(found)
    assert text[-1] == "fits"
    assert max(map(len, text)) <= 175


@pytest.mark.parametrize("name", SIZES)
def test_an_a100_of_40_gb_holds_the_training_too(name: str) -> None:
    """Anvil's `gpu` partition."""
    found = estimated(f"{name}-a100", "a100-40", site=load_site("anvil", ROOT))
    assert found.fits
    assert found.machine.partition_name == "gpu"


def test_the_default_in_numbers() -> None:
    """Sections 7, 8, 10 and 11: what comes in, and what lies on disk."""
    found = estimated("theworld-100k", "h200")
    assert found.work.rows == 166_667
    assert found.traffic.incoming["pictures"] == 20_000_000_000
    assert found.traffic.incoming["language model"] == 2 * 4_300_079_472
    assert found.traffic.outgoing == 0
    held = {item.name.rpartition("/")[2]: item.bytes for item in found.storage.items}
    assert held["latents"] == 13_107_200_000
    assert held["images"] == pytest.approx(10.8e9, rel=5e-3)
    assert held["export"] == 6 * 36_741_124
    assert found.training.checkpoint_bytes == 110_223_372
    assert found.training.checkpoints == 38


def test_pushes_are_off_unless_a_repository_is_named() -> None:
    from trackyard.recipes.datacomp.cost.traffic import traffic

    study = profile("theworld-100k")
    pushing = study.model_copy(update={"publish": study.publish.model_copy(update={"repo": "owner/name"})})
    assert traffic(pushing, 9_185_281).outgoing == 6 * 36_741_124


def test_two_gpus_halve_the_latents_and_nearly_the_steps() -> None:
    one, two = (estimated("theworld-100k", "h200", gpus=gpus).work for gpus in (1, 2))
    assert two.latent_hours == pytest.approx(one.latent_hours / 2)
    assert 1.8 < one.step_hours / two.step_hours <= 2.0
    assert one.download_hours == two.download_hours


def test_the_pool_is_an_array_where_jobs_have_a_network() -> None:
    """63.5 h of one process do not fit a job of 24 h; offline, one process goes on as long as it takes."""
    offline = estimated("theworld-full", "h200")
    assert (job(offline, "download").tasks, job(offline, "download").attempts) == (1, 1)
    assert any("have no network" in line for line in lines(offline))
    online = estimated("theworld-full", "h200", site=changed_site(compute_has_network=True))
    array = job(online, "download")
    assert array.tasks == 3
    assert array.hours <= 24
    assert array.tasks * (array.hours - 0.1) == pytest.approx(offline.work.download_hours)
    assert any(line.split()[:2] == ["stage", "jobs"] and "tasks" in line for line in lines(online))
    short = estimated(
        "theworld-full", "h200", site=changed_site(compute_has_network=True, partition={"max_hours": 4.0})
    )
    assert job(short, "download").tasks == 17
    assert job(short, "train").attempts > job(online, "train").attempts > 1


def test_a_full_disk_is_told_what_is_needed() -> None:
    scratch = {"path_variable": "SCRATCH", "quota_tb": 2.0, "max_files": 1_000_000}
    found = estimated("theworld-full", "h200", site=changed_site(scratch=scratch))
    assert [check.name for check in found.checks if not check.ok] == ["the study on scratch"]
    assert found.changes[0].startswith("a file system with 3,2")


def test_an_evaluation_that_no_job_is_long_enough_for() -> None:
    found = estimated("theworld-100k", "a100-80", site=changed_site(partition={"max_hours": 0.3}))
    assert "longest part of a job" in [check.name for check in found.checks if not check.ok]
    assert lines(found)[-1].startswith("does not fit: ")


def test_what_was_measured_takes_the_place_of_the_plan() -> None:
    planned = estimated("theworld-100k", "h200")
    pace = Pace(rows_per_s=280.0, encode_s=0.1, step_s=1.5, save_s=1.0, measured={"rows_per_s": 280.0})
    found = estimated("theworld-100k", "h200", pace=pace)
    assert found.work.download_hours == pytest.approx(planned.work.download_hours / 5)
    assert found.work.latent_hours == pytest.approx(100_000 * 0.1 / 3600)
    assert found.work.step_hours == pytest.approx(18_750 * 1.5 / 3600)
    assert any("measured: rows_per_s 280" in line for line in lines(found))


def test_the_document() -> None:
    found = to_json(estimated("theworld-100k", "h200"))
    assert found["unpinned"] == ["datacomp.gemma.revision", "datacomp.vae.revision"]
    assert found["arithmetic"]["published"]["saves"] == 375
    assert found["arithmetic"]["presets"]["100k"]["hours_at_planning_step"] == 15.625
    assert found["arithmetic"]["presets"]["full"]["latent_bytes"] == 1_677_721_600_000
    assert sum(found["memory_bytes"].values()) > 8.6e9
    assert (found["fits"], found["smallest_change"]) == (True, None)


def checkout(tmp_path: Path) -> Path:
    for name in ("params.yaml", "sites", "profiles"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def test_the_stage_writes_the_estimate_and_what_decides_each_stage(tmp_path: Path) -> None:
    said: list[str] = []
    estimate(Study(root=checkout(tmp_path), parameters=made()), said.append)
    found = read_document(tmp_path / "artifacts/datacomp/estimate/estimate.json", SCHEMA, fix="")
    assert (found["track"], found["device"], found["gpu_hours"], found["fits"]) == ("datacomp", "cpu", 0.0, True)
    assert found["traffic"]["in_total_bytes"] == 0
    assert said[-1] == "fits"
    assert (tmp_path / "artifacts/datacomp/parameters/train.json").is_file()


def test_a_model_without_a_commit_is_estimated_and_nothing_else(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"datacomp.gemma.revision and datacomp.vae.revision: unpinned") as raised:
        estimate(Study(root=checkout(tmp_path), parameters=profile("theworld-100k")), print)
    assert "trackyard data verify --models" in raised.value.fix
    assert not (tmp_path / "artifacts").exists()
    require_pinned(made())


def test_a_language_model_of_unknown_size_is_said_to_have_no_estimate(tmp_path: Path) -> None:
    study = profile("theworld-100k")
    gemma = study.gemma.model_copy(update={"id": "google/gemma-3-27b-it", "revision": "a" * 40})
    vae = study.vae.model_copy(update={"revision": "b" * 40})
    said: list[str] = []
    estimate(
        Study(root=checkout(tmp_path), parameters=study.model_copy(update={"gemma": gemma, "vae": vae})), said.append
    )
    found = read_document(tmp_path / "artifacts/datacomp/estimate/estimate.json", SCHEMA, fix="")
    assert found["fits"] is None
    assert said == ["no estimate: the size of google/gemma-3-27b-it is not known"]
