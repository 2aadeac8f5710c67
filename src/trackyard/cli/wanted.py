"""What a stage takes, of the parameters in force: bytes and files at once, and what is gated and not here yet."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from trackyard.acquire.hub.files import RepositoryKind
from trackyard.acquire.hub.record import read_record
from trackyard.acquire.places import Places
from trackyard.catalog.entries import Entry, HubSource, load_catalogue
from trackyard.catalog.selection import find
from trackyard.errors import ConfigError, DataError
from trackyard.estimate.calibration import FILE, Calibration, calibrate, cases_of, read_measurements
from trackyard.estimate.devices import device_of
from trackyard.estimate.forecast import Machine, forecast
from trackyard.estimate.study import StudyForecast
from trackyard.launch.doctor.asked import Wanted
from trackyard.launch.sites import Site
from trackyard.recipes import stages

_Gated = Iterable[tuple[HubSource, RepositoryKind]]


def wanted(root: Path, site: Site, name: str) -> Wanted:
    """name: TRACK/STAGE. ConfigError for a stage that is not estimated."""
    track, separator, stage = name.partition("/")
    if not separator:
        raise ConfigError(
            what=f"--for {name}",
            why="a stage is named with its track",
            fix="trackyard doctor --for molmo2/stage1",
        )
    stages.require_known(track, stage)
    profile = stages.profile_path(root, None)
    device = stages.device_named(profile)
    partition = site.partition_for(device, None)
    there = site.partitions[partition].device
    machine = Machine(
        site=site, partition_name=partition, device=device_of((device or "cpu") if there == "any" else there)
    )
    work = stages.workload(stages.Asked(track=track, stage=stage, profile=profile), machine.device)
    cases = cases_of(
        read_measurements(root / FILE), machine.device, lambda one: stages.rebuild(one, root, machine.device)
    )
    calibration = calibrate(work, machine.device, cases)
    gated = _not_here(_gated(root, profile, track, stage), Places.of(root))
    if stage != stages.STUDY:
        return Wanted(name=name, bytes=forecast(work, machine, calibration).kept_bytes, files=None, gated=gated)
    peak = _study(profile, track, machine, calibration).storage.peak
    return Wanted(name=name, bytes=peak.bytes, files=peak.files, gated=gated)


def _study(profile: Path, track: str, machine: Machine, calibration: Calibration) -> StudyForecast:
    if track == "pile_ffn":
        from trackyard.recipes.pile_ffn.cost.estimating import estimate_study
        from trackyard.recipes.pile_ffn.parameters import load_pile_ffn

        return estimate_study(load_pile_ffn(profile), machine, calibration)
    from trackyard.recipes.datacomp.cost.estimating import estimate_study as estimate_datacomp
    from trackyard.recipes.datacomp.parameters import load_datacomp

    return estimate_datacomp(load_datacomp(profile), machine, calibration)


def _gated(root: Path, profile: Path, track: str, stage: str) -> _Gated:
    """Repositories that a stage reads and whose terms must be accepted."""
    catalogue = load_catalogue(root / "catalog")
    if track == "molmo2":
        from trackyard.recipes.molmo2.parameters import STAGES, load_molmo2
        from trackyard.snapshot.manifest import NAME

        parameters = load_molmo2(profile)
        mixture = parameters.stage(next(one for one in STAGES if one == stage)).mixture
        absent = [name for name in mixture.datasets if not (root / parameters.snapshot / name / NAME).is_file()]
        return _sources(catalogue[name] for name in absent if name in catalogue)
    if track == "pile_ffn":
        from trackyard.recipes.pile_ffn.parameters import load_pile_ffn

        study = load_pile_ffn(profile)
        source = study.data.source
        found = _sources([find(catalogue, source.entry)] if source.entry else [])
        model = study.model
        return [*found, *_model(model.id, model.revision)] if model.gated else found
    from trackyard.recipes.datacomp.parameters import load_datacomp

    run = load_datacomp(profile)
    rows = [find(catalogue, run.data.source.entry)] if run.data.source.kind == "hub" else []
    return [*_sources(rows), *_model(run.gemma.id, run.gemma.revision)]


def _sources(entries: Iterable[Entry]) -> list[tuple[HubSource, RepositoryKind]]:
    return [(source, "dataset") for entry in entries for source in entry.hub if source.gated]


def _model(name: str, revision: str | None) -> list[tuple[HubSource, RepositoryKind]]:
    """A model of the hub; one that is made has no revision."""
    return [] if revision is None else [(HubSource(repo=name, revision=revision, gated=True), "model")]


def _not_here(gated: _Gated, places: Places) -> tuple[str, ...]:
    missing = []
    for source, kind in gated:
        try:
            read_record(source, places.hub, kind=kind)
        except DataError:
            missing.append(source.repo)
    return tuple(dict.fromkeys(missing))
