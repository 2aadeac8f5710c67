"""What the whole track takes: rows, traffic, hours of every job, bytes on disk, and whether a site allows it.

Training is the forecast of trackyard.estimate on the site's device; the other stages go at the pace of `planning`.
Needs no weights, no data and no network. Source: theworld spec sections 10 and 16.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from trackyard.errors import ConfigError
from trackyard.estimate.calibration import FILE, Calibration, calibrate, cases_of, read_measurements
from trackyard.estimate.devices import Device, device_of
from trackyard.estimate.fit import smallest_change
from trackyard.estimate.forecast import Machine, forecast
from trackyard.estimate.jobs import most_at_once, schedule
from trackyard.estimate.study import StudyForecast, at_once
from trackyard.launch.sites import load_site
from trackyard.recipes.datacomp.cost.bases import base_of
from trackyard.recipes.datacomp.cost.jobs import Work, chain
from trackyard.recipes.datacomp.cost.planning import Pace, planned
from trackyard.recipes.datacomp.cost.sizes import study_workload
from trackyard.recipes.datacomp.cost.storing import storage
from trackyard.recipes.datacomp.cost.traffic import Traffic, traffic
from trackyard.recipes.datacomp.declared import declare
from trackyard.recipes.datacomp.parameters import DatacompParameters
from trackyard.recipes.datacomp.pinned import require_pinned, unpinned
from trackyard.recipes.datacomp.study import TRACK, Study
from trackyard.recipes.stages import device_named, rebuild
from trackyard.schema import write_document

SCHEMA = "trackyard-datacomp-estimate/1"


@dataclass(frozen=True, kw_only=True)
class StudyEstimate(StudyForecast):
    """Every job of the track. training: of one run at one seed."""

    parameters: DatacompParameters
    work: Work
    traffic: Traffic

    @property
    def network_elsewhere(self) -> bool:
        """Whether jobs reach no network, so that what is fetched comes over a login or transfer node."""
        return not self.machine.site.compute_has_network

    @property
    def unpinned(self) -> tuple[str, ...]:
        return unpinned(self.parameters)


def estimate_study(
    parameters: DatacompParameters, machine: Machine, calibration: Calibration, pace: Pace | None = None
) -> StudyEstimate:
    """Predict every job on a partition. pace: measured; None: as planned.

    Raises ConfigError for a model of unknown size, and for samples or world tokens that cannot be.
    """
    work = study_workload(parameters, machine.device)
    training = forecast(work, machine, calibration)
    sized = Work(parameters=parameters, training=training, pace=pace or planned(parameters, machine.device))
    jobs = tuple(sized.job(step) for step in chain(parameters))
    slots = dict(schedule(jobs, gpus=at_once(machine)))
    return StudyEstimate(
        parameters=parameters,
        machine=machine,
        training=training,
        change=None if training.fits else smallest_change(training),
        jobs=jobs,
        slots=slots,
        storage=storage(parameters, work.trained, at_once=most_at_once(jobs, slots, "train")),
        work=sized,
        traffic=traffic(parameters, work.trained),
    )


def estimate(study: Study, say: Callable[[str], None]) -> None:
    """What decides each stage (`declared.py`), and the estimate on this machine as estimate/estimate.json.

    Of a language model whose size is not known, the document says only that: `fits` is null. Only planning values are
    used: what earlier runs of this checkout have measured is no dependency of the stage.
    """
    from trackyard.recipes.datacomp.cost.lines import summary, to_json

    require_pinned(study.parameters)
    declare(study)
    path = study.artifacts / "estimate" / "estimate.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        base_of(study.parameters.gemma)
    except ConfigError as error:
        say(f"no estimate: {error.what}")
        write_document(path, SCHEMA, {"track": TRACK, "model": study.parameters.gemma.id, "fits": None})
        return
    device = device_of(device_named(study.root / "params.yaml") or "cpu")
    found = estimate_study(study.parameters, _here(study, device), _calibrated(study, device))
    write_document(path, SCHEMA, {"track": TRACK} | to_json(found))
    for line in summary(found):
        say(line)


def _here(study: Study, device: Device) -> Machine:
    site = load_site("local", study.root)
    return Machine(site=site, partition_name=site.partition_for(device.name), device=device)


def _calibrated(study: Study, device: Device) -> Calibration:
    work = study_workload(study.parameters, device)
    cases = cases_of(read_measurements(study.root / FILE), device, lambda one: rebuild(one, study.root, device))
    return calibrate(work, device, cases)
