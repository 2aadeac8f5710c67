"""What the whole study takes: hours of every job, bytes on disk, the chain of jobs, and whether a site allows it.

Training is the forecast of trackyard.estimate on the site's device; everything else is counted in tokens and divided by
a stated share of the device's peak. Needs no weights and no data. Source: pile-ffn spec section 13.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from trackyard.estimate.calibration import FILE, Calibration, calibrate, cases_of, read_measurements
from trackyard.estimate.devices import device_of
from trackyard.estimate.fit import smallest_change
from trackyard.estimate.forecast import Forecast, Machine, forecast
from trackyard.estimate.jobs import Job, Step, most_at_once, schedule
from trackyard.estimate.study import StudyForecast, at_once, attempts_of, start_hours
from trackyard.launch.sites import load_site
from trackyard.recipes.pile_ffn.cells import Arm
from trackyard.recipes.pile_ffn.cost.constrained_memory import live_bytes
from trackyard.recipes.pile_ffn.cost.job_chain import chain
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
from trackyard.recipes.pile_ffn.cost.storing import TEXT_BYTES, storage, text_bytes
from trackyard.recipes.pile_ffn.declared import declare
from trackyard.recipes.pile_ffn.parameters import PileFfnParameters
from trackyard.recipes.pile_ffn.study import TRACK, Study
from trackyard.recipes.stages import device_named, rebuild
from trackyard.schema import write_document

SCHEMA = "trackyard-pile-ffn-estimate/1"
NETWORK_BYTES_S, DISK_BYTES_S, TOKENIZE_BYTES_S = 1e8, 5e8, 3.6e6
"""Of a download; of reading and writing a model; of text that one core turns into tokens (performance spec, B6)."""


@dataclass(frozen=True, kw_only=True)
class StudyEstimate(StudyForecast):
    """Every job of the study. training: of one arm at one seed."""

    parameters: PileFfnParameters
    constrained_bytes: int
    """Effective weights beside their free ones, at most, in the memory of a rank."""

    def smaller(self, room: float) -> list[str]:
        """Fewer checkpoints, or fewer cells at once, before another file system."""
        parameters, size = self.parameters, size_of(self.parameters.model)
        together = most_at_once(self.jobs, self.slots, "train")
        if self.storage.without_finished() <= room:
            return super().smaller(room)
        for keep in range(parameters.engine.keep_checkpoints - 1, 0, -1):
            if storage(parameters, size, at_once=together, keep=keep).without_finished() <= room:
                return [f"engine.keep_checkpoints -> {keep}, and those of each finished run removed"]
        for fewer in range(together - 1, 0, -1):
            if storage(parameters, size, at_once=fewer, keep=1).without_finished() <= room:
                return [
                    f"engine.keep_checkpoints -> 1, {fewer} cells trained at once, finished runs' checkpoints removed"
                ]
        return super().smaller(room)


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
    slots = dict(schedule(jobs, gpus=at_once(machine)))
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


def _job(step: Step, parameters: PileFfnParameters, size: Size, training: Forecast) -> Job:
    machine = training.machine
    parts = _parts(step, parameters, size, machine)
    longest, hours = max(parts), sum(parts)
    made = parameters.model.made
    pretraining = made is not None and step.stage == "untouched"
    ranks = 1 if step.stage in SCORES else 0
    if step.stage == "train" or pretraining:
        steps = made.steps if made is not None and pretraining else training.work.steps
        hours, ranks = hours + steps * training.step.seconds / 3600, training.work.world
    attempts = attempts_of(hours, machine)
    return Job(
        stage=step.stage,
        item=step.item,
        gpus=0 if machine.device.is_cpu else ranks,
        hours=hours + start_hours(machine) * attempts,
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
