"""A schedule of jobs breaks neither their order nor the limit on GPUs."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from trackyard.estimate.jobs import Job, most_at_once, schedule


def job(name: str, hours: float, *, gpus: int = 1, after: tuple[str, ...] = ()) -> Job:
    return Job(stage=name, item=None, gpus=gpus, hours=hours, longest=0.0, attempts=1, waits_for=after)


def test_an_array_takes_the_gpus_of_all_its_tasks() -> None:
    array = Job(stage="a", item=None, gpus=1, hours=2, longest=0, attempts=1, waits_for=(), tasks=3)
    assert array.gpu_hours == 6
    beside = [array, job("b", 1)]
    assert schedule(beside, gpus=3)["b"].start == 2
    assert schedule(beside, gpus=4)["b"].start == 0


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
