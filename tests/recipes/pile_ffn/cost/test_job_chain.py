"""The chain of jobs is that of pipelines/pile_ffn/dvc.yaml, and a schedule breaks neither order nor limits."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from trackyard.recipes.pile_ffn.cost.job_chain import Job, chain, most_at_once, schedule
from trackyard.recipes.pile_ffn.parameters import load_pile_ffn

ROOT = Path(__file__).resolve().parents[4]
PIPELINE = ROOT / "pipelines" / "pile_ffn" / "dvc.yaml"


def job(name: str, hours: float, *, gpus: int = 1, after: tuple[str, ...] = ()) -> Job:
    return Job(stage=name, item=None, gpus=gpus, hours=hours, longest=0.0, attempts=1, waits_for=after)


def named(profile: str) -> list[str]:
    steps = chain(load_pile_ffn(ROOT / "profiles" / f"{profile}.yaml"))
    found: list[str] = []
    for step in steps:
        one = Job(stage=step.stage, item=step.item, gpus=0, hours=0, longest=0, attempts=1, waits_for=step.waits_for)
        assert set(step.waits_for) <= set(found), f"{one.name} waits for what comes later"
        found.append(one.name)
    return found


@pytest.mark.parametrize("profile", ["mini", "pythia-1.4b"])
def test_jobs_are_the_stages_of_the_pipeline(profile: str) -> None:
    """The matrix of every stage, expanded as DVC names its items."""
    parameters = load_pile_ffn(ROOT / "profiles" / f"{profile}.yaml")
    lists = {
        name: [str(one) for one in getattr(parameters, name)] for name in ("arms", "degraded", "measured", "seeds")
    }
    expected = []
    for name, stage in yaml.safe_load(PIPELINE.read_text())["stages"].items():
        keys = [""]
        for values in stage.get("matrix", {}).values():
            keys = [f"{key}-{one}" if key else one for key in keys for one in lists[values[len("${pile_ffn.") : -1]]]
        expected += [name if not key else f"{name}@{key}" for key in keys]
    assert sorted(named(profile)) == sorted(set(expected) - {"estimate"})


def test_the_default_study_is_41_jobs() -> None:
    found = named("pythia-1.4b")
    assert len(found) == len(set(found)) == 4 + 18 + 1 + 8 + 8 + 1 + 1
    assert found[0] == "fetch"
    assert found[-1] == "aggregate"


def test_one_gpu_does_one_thing_at_a_time() -> None:
    jobs = [job("a", 1), job("b", 2), job("c", 3, after=("a",))]
    assert {name: slot.start for name, slot in schedule(jobs, gpus=1).items()} == {"a": 0, "b": 1, "c": 3}
    assert {name: slot.start for name, slot in schedule(jobs, gpus=2).items()} == {"a": 0, "b": 0, "c": 1}


def test_without_a_scheduler_jobs_without_gpus_wait_as_well() -> None:
    jobs = [job("a", 1, gpus=0), job("b", 2, gpus=0)]
    assert schedule(jobs, gpus=None)["b"].start == 1
    assert schedule(jobs, gpus=1)["b"].start == 0


def test_a_later_short_job_fills_a_gap() -> None:
    jobs = [job("cpu", 5, gpus=0), job("long", 4, gpus=2, after=("cpu",)), job("short", 3)]
    found = schedule(jobs, gpus=2)
    assert (found["long"].start, found["short"].start) == (5, 0)


@st.composite
def chains(draw: st.DrawFn) -> list[Job]:
    found: list[Job] = []
    for number in range(draw(st.integers(1, 9))):
        before = draw(st.sets(st.sampled_from([one.name for one in found]))) if found else set()
        hours, gpus = draw(st.sampled_from([0.5, 1.0, 2.5])), draw(st.integers(0, 4))
        found.append(job(f"j{number}", hours, gpus=gpus, after=tuple(sorted(before))))
    return found


@settings(max_examples=60, deadline=None)
@given(chains(), st.integers(1, 5))
def test_a_schedule_keeps_order_and_limit(jobs: list[Job], gpus: int) -> None:
    slots = schedule(jobs, gpus=gpus)
    for one in jobs:
        assert slots[one.name].end == slots[one.name].start + one.hours
        assert all(slots[before].end <= slots[one.name].start for before in one.waits_for)
    for moment in {slot.start for slot in slots.values()}:
        running = [one.gpus for one in jobs if one.gpus and slots[one.name].start <= moment < slots[one.name].end]
        assert sum(running) <= gpus or len(running) == 1
    serial = schedule(jobs, gpus=None)
    assert max(slot.end for slot in slots.values()) <= max(slot.end for slot in serial.values())
    assert max(slot.end for slot in serial.values()) == sum(one.hours for one in jobs)


def test_how_many_of_a_stage_run_at_once() -> None:
    jobs = [
        Job(stage="train", item=str(number), gpus=1, hours=1, longest=0, attempts=1, waits_for=())
        for number in range(5)
    ]
    for gpus in (1, 2, 5):
        assert most_at_once(jobs, schedule(jobs, gpus=gpus), "train") == gpus
    assert most_at_once(jobs, schedule(jobs, gpus=2), "attack") == 0
