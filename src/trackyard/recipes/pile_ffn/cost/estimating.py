"""What the whole study takes: hours of every job, bytes on disk, the chain of jobs, and whether a site allows it.

Training is the forecast of trackyard.estimate on the site's device; everything else is counted in tokens and divided by
a stated share of the device's peak. Needs no weights and no data. Source: pile-ffn spec section 13.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from trackyard.estimate.calibration import FILE, Calibration, calibrate, cases_of, read_measurements
from trackyard.estimate.devices import device_of
from trackyard.estimate.fit import Fitting, smallest_change
from trackyard.estimate.forecast import LEAD_HOURS, SCRATCH_SHARE, START_HOURS, Check, Forecast, Machine, forecast
from trackyard.launch.sites import load_site
from trackyard.recipes.pile_ffn.cells import Arm
from trackyard.recipes.pile_ffn.cost.constrained_memory import live_bytes
from trackyard.recipes.pile_ffn.cost.job_chain import Job, Slot, Step, chain, most_at_once, schedule
from trackyard.recipes.pile_ffn.cost.scoring_work import (
    Passes,
    benchmarks,
    flip_attacks,
    matching,
    perplexity,
    probes,
    replays,
    trigger_attack,
    validation,
)
from trackyard.recipes.pile_ffn.cost.sizes import Size, size_of, study_workload
from trackyard.recipes.pile_ffn.cost.storing import TEXT_BYTES, Storage, storage, text_bytes
from trackyard.recipes.pile_ffn.declared import declare
from trackyard.recipes.pile_ffn.parameters import PileFfnParameters
from trackyard.recipes.pile_ffn.study import TRACK, Study
from trackyard.recipes.stages import device_named, rebuild
from trackyard.schema import write_document

SCHEMA = "trackyard-pile-ffn-estimate/1"
NETWORK_BYTES_S, DISK_BYTES_S, TOKENIZE_BYTES_S = 1e8, 5e8, 3.6e6
"""Of a download; of reading and writing a model; of text that one core turns into tokens (performance spec, B6)."""
PROCESS_HOURS = 5 / 3600
"""Until a stage of this machine has imported what it needs; a job of a scheduler takes `START_HOURS`."""


@dataclass(frozen=True, kw_only=True)
class StudyEstimate:
    """training: of one arm at one seed. jobs: every stage, cell and seed in order. slots: when each runs."""

    parameters: PileFfnParameters
    machine: Machine
    training: Forecast
    change: Fitting | None
    """What makes the training fit; None if it does, or nothing does."""
    constrained_bytes: int
    """Effective weights beside their free ones, at most, in the memory of a rank."""
    jobs: tuple[Job, ...]
    slots: dict[str, Slot]
    storage: Storage

    @property
    def gpu_hours(self) -> float:
        return 0.0 if self.machine.device.is_cpu else sum(job.gpu_hours for job in self.jobs)

    @property
    def hours(self) -> float:
        """From the first job's start to the last one's end, without waiting in a queue."""
        return max(slot.end for slot in self.slots.values())

    @property
    def service_units(self) -> float | None:
        """None where nothing is charged."""
        price = self.machine.partition.service_units_per_gpu_hour
        return None if price is None or self.machine.device.is_cpu else self.gpu_hours * price

    @cached_property
    def checks(self) -> tuple[Check, ...]:
        """Those of the training, of jobs that cannot be interrupted, of bytes and of files."""
        site, limit = self.machine.site, self.machine.partition.max_hours
        found = list(self.training.checks)
        if limit is not None:
            longest = max(job.longest for job in self.jobs)
            most = limit - START_HOURS - LEAD_HOURS
            found.append(Check(name=UNINTERRUPTED, ok=longest <= most, needed=longest, limit=most, unit="hours"))
        peak, scratch = self.storage.peak, site.scratch
        if scratch is not None and scratch.quota_tb is not None:
            room = scratch.quota_tb * 1e12 * SCRATCH_SHARE
            found.append(Check(name=ON_SCRATCH, ok=peak.bytes <= room, needed=peak.bytes, limit=room, unit="bytes"))
        if scratch is not None and scratch.max_files is not None:
            files = scratch.max_files * SCRATCH_SHARE
            found.append(Check(name=FILES, ok=peak.files <= files, needed=peak.files, limit=files, unit="files"))
        return tuple(found)

    @property
    def fits(self) -> bool:
        return all(check.ok for check in self.checks)

    @property
    def changes(self) -> tuple[str, ...]:
        """The smallest change for each thing that does not fit; none where it does, or where nothing is known."""
        failed = {check.name: check for check in self.checks if not check.ok}
        found = [] if self.change is None else list(self.change.changes)
        if UNINTERRUPTED in failed:
            needed = failed[UNINTERRUPTED].needed + START_HOURS + LEAD_HOURS
            found.append(f"a partition whose jobs may take {math.ceil(needed)} h")
        if ON_SCRATCH in failed:
            found += _smaller(self, failed[ON_SCRATCH].limit)
        return tuple(found)


UNINTERRUPTED, ON_SCRATCH, FILES = "longest part of a job", "the study on scratch", "files on scratch"


def estimate_study(parameters: PileFfnParameters, machine: Machine, calibration: Calibration) -> StudyEstimate:
    """Predict every job of a study on a partition. ConfigError for a model without a known size."""
    size = size_of(parameters.model)
    work = study_workload(parameters, machine.device)
    constrained = 0
    if not machine.device.is_cpu:
        constrained = max(live_bytes(size, Arm.named(name), parameters.engine) for name in parameters.arms)
    # Held beside what every arm has, and as much for each micro-batch: to the forecast it is what a process holds.
    held = replace(calibration, reserved=calibration.reserved + constrained)
    training = forecast(work, machine, held)
    jobs = tuple(_job(step, parameters, size, training) for step in chain(parameters))
    # Without a scheduler `dvc repro` runs one stage after the other.
    slots = dict(schedule(jobs, gpus=None if machine.site.scheduler == "none" else machine.most_gpus))
    return StudyEstimate(
        parameters=parameters,
        machine=machine,
        training=training,
        change=None if training.fits else smallest_change(training),
        constrained_bytes=constrained,
        jobs=jobs,
        slots=slots,
        storage=storage(parameters, size, at_once=most_at_once(jobs, slots, "train")),
    )


def _smaller(found: StudyEstimate, room: float) -> list[str]:
    """One change that brings the peak below `room`, the one that costs least."""
    parameters, size = found.parameters, size_of(found.parameters.model)
    at_once = most_at_once(found.jobs, found.slots, "train")
    if found.storage.without_finished() <= room:
        return ["the checkpoints of each finished run removed before the next cells start"]
    for keep in range(parameters.engine.keep_checkpoints - 1, 0, -1):
        if storage(parameters, size, at_once=at_once, keep=keep).without_finished() <= room:
            return [f"engine.keep_checkpoints -> {keep}, and those of each finished run removed"]
    for fewer in range(at_once - 1, 0, -1):
        if storage(parameters, size, at_once=fewer, keep=1).without_finished() <= room:
            return [f"engine.keep_checkpoints -> 1, {fewer} cells trained at once, finished runs' checkpoints removed"]
    return [f"a file system with {math.ceil(found.storage.final.bytes / SCRATCH_SHARE / 1e9):,} GB for the study alone"]


def _job(step: Step, parameters: PileFfnParameters, size: Size, training: Forecast) -> Job:
    machine = training.machine
    start = PROCESS_HOURS if machine.site.scheduler == "none" else START_HOURS
    parts = _parts(step, parameters, size, machine)
    longest, hours = max(parts), sum(parts)
    made = parameters.model.made
    pretraining = made is not None and step.stage == "untouched"
    ranks = 1 if step.stage in SCORES else 0
    if step.stage == "train" or pretraining:
        steps = made.steps if made is not None and pretraining else training.work.steps
        hours, ranks = hours + steps * training.step.seconds / 3600, training.work.world
    limit = machine.partition.max_hours
    attempts = 1 if limit is None else max(1, math.ceil(hours / (limit - START_HOURS - LEAD_HOURS)))
    return Job(
        stage=step.stage,
        item=step.item,
        gpus=0 if machine.device.is_cpu else ranks,
        hours=hours + start * attempts,
        longest=longest,
        attempts=attempts,
        waits_for=step.waits_for,
    )


SCORES = ("degrade", "evaluate", "attack", "transfer")
"""Stages of one GPU."""


def _parts(step: Step, parameters: PileFfnParameters, size: Size, machine: Machine) -> list[float]:
    """Hours of the parts of a job that are kept one by one; of training, those of its last score and of its export."""
    exported = 6 * size.parameters / DISK_BYTES_S / 3600

    def scored(*passes: Passes) -> list[float]:
        return [found.hours(size.shape, machine.device) for found in passes]

    match step.stage:
        case "fetch":
            model = 0 if parameters.model.made else 2 * size.parameters
            return [(text_bytes(parameters) + model) / NETWORK_BYTES_S / 3600]
        case "tokenize":
            tokens = len(parameters.seeds) * parameters.training.tokens
            return [tokens * TEXT_BYTES / TOKENIZE_BYTES_S / parameters.data.workers / 3600]
        case "untouched":
            return [exported]
        case "train":
            return [exported, *scored(validation(parameters))]
        case "degrade":
            return [exported + sum(scored(matching(parameters)))] * len(parameters.seeds)
        case "evaluate":
            return scored(perplexity(parameters), benchmarks(parameters), probes()) * _seeds(step, parameters)
        case "attack":
            return scored(trigger_attack(parameters), flip_attacks(parameters)) * _seeds(step, parameters)
        case "transfer":
            return scored(replays(parameters)) * len(parameters.seeds)
        case _:
            return [0.0]


def _seeds(step: Step, parameters: PileFfnParameters) -> int:
    """Of the arm that a job is about: one after the other on its GPU."""
    return 0 if step.item is None else len(parameters.cells_of(step.item))


def estimate(study: Study, say: Callable[[str], None]) -> None:
    """What decides each stage (`declared.py`), and the estimate on this machine as estimate/estimate.json.

    Of a model of the hub whose size is not stated, the document says only that: `fits` is null.
    """
    from trackyard.recipes.pile_ffn.cost.lines import summary, to_json

    declare(study)
    path, model = study.artifacts / "estimate" / "estimate.json", study.parameters.model
    path.parent.mkdir(parents=True, exist_ok=True)
    if model.made is None and model.size is None:
        # A model of the hub may have any shape; its configuration is fetched only after this.
        say(f"no estimate: the size of {model.id} is not known (pile_ffn.model.size)")
        write_document(path, SCHEMA, {"track": TRACK, "model": model.id, "fits": None})
        return
    site, named = load_site("local", study.root), device_named(study.root / "params.yaml")
    device = device_of(named or "cpu")
    machine = Machine(site=site, partition_name=site.partition_for(named), device=device)
    work = study_workload(study.parameters, device)
    cases = cases_of(read_measurements(study.root / FILE), device, lambda one: rebuild(one, study.root, device))
    found = estimate_study(study.parameters, machine, calibrate(work, device, cases))
    write_document(path, SCHEMA, {"track": TRACK} | to_json(found))
    for line in summary(found):
        say(line)
