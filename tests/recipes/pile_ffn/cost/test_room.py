"""A training is refused where disk or time would end it, with the smallest change that would not."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from trackyard.acquire.places import Room
from trackyard.errors import ConfigError, EnvironmentLacking
from trackyard.launch.signals import JOB_END
from trackyard.recipes.pile_ffn.cost.room import expected_step_s, require_room, require_time, visible_device
from trackyard.recipes.pile_ffn.parameters import load_pile_ffn
from trackyard.recipes.pile_ffn.study import Study

ROOT = Path(__file__).resolve().parents[4]
P = 1_414_647_808
STATE, EXPORT, FINAL = 12 * P, 6 * P, 4 * P
NEEDED = 4 * STATE + FINAL + EXPORT
"""Three checkpoints and one being written, the final weights and the export."""


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(root=tmp_path, parameters=load_pile_ffn(ROOT / "profiles" / "pythia-1.4b-a100.yaml"))


def disk(free: int, inodes: int | None = None) -> Callable[[Path], Room]:
    return lambda path: Room(device=1, free_bytes=free, free_inodes=inodes)


def two_disks(runs: int, artifacts: int) -> Callable[[Path], Room]:
    def measure(path: Path) -> Room:
        here = "runs" in path.parts
        return Room(device=here, free_bytes=runs if here else artifacts, free_inodes=None)

    return measure


def test_exactly_enough_is_enough(study: Study) -> None:
    require_room(study, P, environment={}, measure=disk(NEEDED))
    with pytest.raises(EnvironmentLacking, match="4 checkpoints"):
        require_room(study, P, environment={}, measure=disk(NEEDED - 1))


@pytest.mark.parametrize(("spared", "keep"), [(1, 2), (STATE, 2), (STATE + 1, 1), (2 * STATE, 1)])
def test_the_most_checkpoints_that_fit_are_named(study: Study, spared: int, keep: int) -> None:
    with pytest.raises(EnvironmentLacking) as raised:
        require_room(study, P, environment={}, measure=disk(NEEDED - spared))
    assert raised.value.fix == f"set pile_ffn.engine.keep_checkpoints to {keep} in params.yaml"


def test_what_no_setting_mends_is_so_many_bytes(study: Study) -> None:
    with pytest.raises(EnvironmentLacking, match="do not fit") as raised:
        require_room(study, P, environment={}, measure=disk(NEEDED - 2 * STATE - 5))
    assert raised.value.fix.startswith(f"free 5 bytes below {study.runs}")


def test_runs_and_artifacts_may_be_on_two_file_systems(study: Study) -> None:
    require_room(study, P, environment={}, measure=two_disks(NEEDED - EXPORT, EXPORT))
    with pytest.raises(EnvironmentLacking) as raised:
        require_room(study, P, environment={}, measure=two_disks(NEEDED, EXPORT - 7))
    assert raised.value.fix.startswith(f"free 7 bytes below {study.artifacts}")


def test_checkpoints_of_the_run_itself_take_no_room_twice(study: Study, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "one" / "checkpoints" / "step-00000001"
    folder.mkdir(parents=True)
    (folder / "state").write_bytes(bytes(1_000))
    require_room(study, P, run=tmp_path / "runs" / "one", environment={}, measure=disk(NEEDED - 1_000))
    with pytest.raises(EnvironmentLacking):
        require_room(study, P, run=tmp_path / "runs" / "two", environment={}, measure=disk(NEEDED - 1_000))


def test_files_count_too(study: Study) -> None:
    require_room(study, P, environment={}, measure=disk(NEEDED, inodes=1_000))
    with pytest.raises(EnvironmentLacking, match="10 files can still be made"):
        require_room(study, P, environment={}, measure=disk(NEEDED, inodes=10))


def test_a_job_that_ends_before_the_first_checkpoint(study: Study) -> None:
    """500 steps of 5.3 s on an A100."""
    step = expected_step_s(study, "a100-80")
    assert step == pytest.approx(5.27, rel=0.02)
    hour = {JOB_END: str(int(time.time() + 3_600))}
    require_room(study, P, environment=hour, device="a100-80", measure=disk(NEEDED))
    half = {JOB_END: str(int(time.time() + 1_800))}
    with pytest.raises(ConfigError, match="500 steps of 5") as raised:
        require_room(study, P, environment=half, device="a100-80", measure=disk(NEEDED))
    assert "set pile_ffn.training.save_every to 30" in raised.value.fix


def test_a_measured_step_takes_the_place_of_the_expected_one(study: Study) -> None:
    require_time(study, step_s=7.0, left_s=3_500.0)
    with pytest.raises(ConfigError) as raised:
        require_time(study, step_s=7.1, left_s=3_500.0)
    assert raised.value.fix == "set pile_ffn.training.save_every to 492 or less in params.yaml"
    with pytest.raises(ConfigError) as raised:
        require_time(study, step_s=10.0, left_s=5.0)
    assert "ask for jobs of at least" in raised.value.fix


def test_time_is_asked_for_where_a_job_ends_and_device_and_size_are_known(study: Study) -> None:
    soon = {JOB_END: str(int(time.time() + 60))}
    require_room(study, P, environment=soon, measure=disk(NEEDED))
    require_room(study, P, environment={}, device="a100-80", measure=disk(NEEDED))
    with pytest.raises(ConfigError):
        require_room(study, P, environment=soon, device="a100-80", measure=disk(NEEDED))
    model = study.parameters.model.model_copy(update={"size": None})
    other = Study(root=study.root, parameters=study.parameters.model_copy(update={"model": model}))
    require_room(other, P, environment=soon, device="a100-80", measure=disk(NEEDED))


@pytest.mark.parametrize(
    ("name", "memory", "found"),
    [
        ("NVIDIA A100-SXM4-80GB", 85_100_000_000, "a100-80"),
        ("NVIDIA A100-SXM4-40GB", 42_300_000_000, "a100-40"),
        ("NVIDIA H200", 150_100_000_000, "h200"),
        ("NVIDIA H100 80GB HBM3", 85_000_000_000, "h100"),
        ("NVIDIA L40S", 48_000_000_000, None),
    ],
)
def test_a_gpu_is_known_by_its_name_and_memory(
    monkeypatch: pytest.MonkeyPatch, name: str, memory: int, found: str | None
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda number: SimpleNamespace(name=name, total_memory=memory)
    )
    assert visible_device() == found


def test_without_a_gpu_the_device_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert visible_device() == "cpu"
