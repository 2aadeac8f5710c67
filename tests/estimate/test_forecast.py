"""Cost, jobs, checkpoints and limits that follow from memory and step time."""

from __future__ import annotations

import math

import pytest

from tests.estimate.world import CPU, assumed, machine, molmo2
from trackyard.errors import ConfigError
from trackyard.estimate.devices import DEVICES, device_of
from trackyard.estimate.document import as_document
from trackyard.estimate.forecast import LEAD_HOURS, START_HOURS, Forecast, Machine, forecast

H100 = DEVICES["h100"]


def found(stage: str = "stage2", **partition: object) -> Forecast:
    return forecast(molmo2(stage), machine(H100, **partition), assumed(H100))


def verdicts(one: Forecast) -> dict[str, bool]:
    return {check.name: check.ok for check in one.checks}


def test_hours_and_service_units() -> None:
    one = found(service_units_per_gpu_hour=2.0, credits="AI")
    assert one.hours == pytest.approx(30_000 * one.step.seconds / 3600)
    assert one.gpu_hours == pytest.approx(4 * one.hours)
    assert one.service_units == pytest.approx(2 * one.gpu_hours)
    assert found().service_units is None


def test_jobs_under_a_limit_on_time() -> None:
    one = found(max_hours=48)
    assert one.jobs == math.ceil(one.hours / (48 - START_HOURS - LEAD_HOURS)) > 1
    assert found().jobs == 1
    shorter = forecast(molmo2("stage2").changed(max_hours=5), machine(H100, max_hours=48), assumed(H100))
    assert shorter.jobs > 9 * one.jobs


def test_checkpoints() -> None:
    """58.2 GB each (the spec counts bf16 weights too), 15 in stage 2; two stay while a third is written."""
    one = found()
    assert one.checkpoint_bytes == 12 * 4_850_869_200
    assert one.checkpoints == 15
    assert one.kept_bytes == 3 * one.checkpoint_bytes
    assert found("stage3").checkpoints == 4


@pytest.mark.parametrize(
    ("partition", "limit"),
    [
        ({"max_gpus_per_user": 3}, "GPUs"),
        ({"nodes": 1, "gpus_per_node": 2}, "GPUs"),
        ({"memory_gb_per_node": 20}, "memory of a node"),
        ({"max_hours": 1}, "hours between checkpoints"),
    ],
)
def test_each_limit_is_checked(partition: dict[str, object], limit: str) -> None:
    assert found().fits
    assert not found(**partition).fits
    assert verdicts(found(**partition))[limit] is False


def test_memory_of_the_device_is_checked() -> None:
    small = DEVICES["a100-40"]
    one = forecast(molmo2("stage2"), machine(small), assumed(small))
    assert verdicts(one)["memory of a GPU"] is False


def test_scratch_is_checked() -> None:
    from trackyard.launch.sites import Storage

    here = machine(H100)
    for quota, fits in ((1.0, True), (0.2, False)):
        site = here.site.model_copy(update={"scratch": Storage(path_variable="SCRATCH", quota_tb=quota)})
        one = forecast(molmo2("stage2"), Machine(site=site, partition_name="p", device=H100), assumed(H100))
        assert verdicts(one)["checkpoints on scratch"] is fits


def test_a_cpu_costs_no_gpu_hours_and_has_no_gpu_limits() -> None:
    one = forecast(molmo2("stage1", "mini", CPU), machine(CPU, memory_gb_per_node=24), assumed(CPU))
    assert (one.gpu_hours, one.service_units, one.step.mfu) == (0.0, None, None)
    assert set(verdicts(one)) == {"memory of a node"}


def test_the_document_says_all_of_it() -> None:
    body = as_document(found(max_hours=48), None, [])
    assert body["fits"] is True
    assert body["smallest_change"] is None
    assert body["step"]["mfu"] < 0.5
    assert {"memory", "gpu_hours", "service_units", "jobs", "checkpoints", "checks", "calibration"} <= set(body)


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(ConfigError, match="no device 'b200'"):
        device_of("b200")
