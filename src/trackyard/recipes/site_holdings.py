"""What all tracks at their real sizes put on a site's file systems: data, checkpoints, results, the image.

Everything is predicted: data by the catalogue, checkpoints and results by the estimates of the three studies on the
device of the site's training jobs. Source: pains 5.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from trackyard.acquire.places import Place
from trackyard.acquire.space import bytes_per_visual, needs_of
from trackyard.catalog.entries import load_catalogue
from trackyard.catalog.selection import closure, select
from trackyard.errors import ConfigError
from trackyard.estimate.calibration import FILE, Calibration, calibrate, cases_of, read_measurements
from trackyard.estimate.devices import device_of
from trackyard.estimate.forecast import Machine, forecast
from trackyard.estimate.stored import Storage, Stored, cache_of
from trackyard.estimate.workload import Workload
from trackyard.launch.quotas import Holding
from trackyard.launch.sites import FOLDER, Held, Site
from trackyard.recipes.stages import STUDY, TRACKS, Asked, profile_path, rebuild, workload
from trackyard.record.image_lock import read_lock

SELECTION = "all"
STUDIES = {"pile_ffn": "pythia-1.4b", "datacomp": "theworld-100k"}
"""Profile of each study; that of molmo2 is called as the device that it trains on."""
CHECKPOINT_FILES = 8
"""Of one rank, at most."""
EXPORT_FILES = 16
_PLACES: dict[Place, tuple[str, Held]] = {
    "hub": ("tables and models of the hub", "hub"),
    "raw": ("raw media and archives", "raw"),
    "data": ("snapshots", "repository"),
}


def site_holdings(root: Path, site: Site) -> tuple[Holding, ...]:
    """All that is to lie there. ConfigError where no partition of the site has GPUs to train on."""
    return (*_data(root), *_image(root, site), *_molmo2(root, site), *_studies(root, site))


def _data(root: Path) -> Iterator[Holding]:
    catalogue = load_catalogue(root / "catalog")
    typical = bytes_per_visual(catalogue.values())
    needs = [need for entry in closure(catalogue, select(catalogue, [SELECTION])) for need in needs_of(entry, typical)]
    for place, (name, held) in _PLACES.items():
        here = [need for need in needs if need.place == place]
        total, files = sum(need.bytes or 0 for need in here), sum(need.files or 0 for need in here)
        unknown = tuple(dict.fromkeys(need.entry for need in here if need.bytes is None))
        yield Holding(name=name, held=held, bytes=total, files=files, unknown=unknown)
        if place == "data":
            yield Holding(name=f"{name}, DVC's copy", held="cache", bytes=total, files=files, unknown=unknown)


def _image(root: Path, site: Site) -> Iterator[Holding]:
    if site.image is not None:
        locked = read_lock(root).images.get(site.image)
        size = None if locked is None else locked.sif_bytes
        yield Holding(name=f"image {site.image}", held="images", bytes=size, files=1)


def _machine(site: Site) -> Machine:
    """What the site's training jobs run on."""
    shape = site.shapes.get("train")
    name = site.partition_for(None, None if shape is None else shape.partition)
    device = site.partitions[name].device
    if device in ("any", "cpu"):
        raise ConfigError(
            what=f"training jobs of site {site.name} run in partition {name}, whose device is {device}",
            why="what studies of the real size put on disk follows from the GPUs that they train on",
            fix=f"name a partition with GPUs as shapes.train of {FOLDER}/{site.name}.yaml; for data alone there is "
            "`trackyard data plan all`",
        )
    return Machine(site=site, partition_name=name, device=device_of(device))


def _calibration(root: Path, work: Workload, machine: Machine) -> Calibration:
    device = machine.device
    cases = cases_of(read_measurements(root / FILE), device, lambda measured: rebuild(measured, root, device))
    return calibrate(work, device, cases)


def _molmo2(root: Path, site: Site) -> Iterator[Holding]:
    machine = _machine(site)
    profile = profile_path(root, machine.device.name)
    exports = []
    for stage in TRACKS["molmo2"]:
        work = workload(Asked(track="molmo2", stage=stage, profile=profile), machine.device)
        found = forecast(work, machine, _calibration(root, work, machine))
        kept = (work.engine.keep_checkpoints + 1) * CHECKPOINT_FILES * work.world
        name = f"molmo2 {stage} ({machine.device.name}), checkpoints"
        yield Holding(name=name, held="repository", bytes=found.kept_bytes, files=kept)
        # In bf16.
        exports.append(Stored(name="molmo2, exports", bytes=2 * work.parameters, files=EXPORT_FILES, kept="study"))
    yield from _stored("molmo2, exports", Storage(items=(*exports, cache_of(exports))))


def _studies(root: Path, site: Site) -> Iterator[Holding]:
    from trackyard.recipes.datacomp.cost.estimating import estimate_study as of_datacomp
    from trackyard.recipes.datacomp.cost.planning import measured
    from trackyard.recipes.datacomp.parameters import load_datacomp
    from trackyard.recipes.datacomp.study import Study
    from trackyard.recipes.pile_ffn.cost.estimating import estimate_study as of_pile_ffn
    from trackyard.recipes.pile_ffn.parameters import load_pile_ffn

    machine = _machine(site)
    for track, name in STUDIES.items():
        profile = profile_path(root, name)
        work = workload(Asked(track=track, stage=STUDY, profile=profile), machine.device)
        calibration = _calibration(root, work, machine)
        if track == "pile_ffn":
            storage = of_pile_ffn(load_pile_ffn(profile), machine, calibration).storage
        else:
            parameters = load_datacomp(profile)
            pace = measured(Study(root=root, parameters=parameters), machine.device)
            storage = of_datacomp(parameters, machine, calibration, pace).storage
        yield from _stored(f"{track} ({name}), results and checkpoints", storage)


def _stored(name: str, storage: Storage) -> Iterator[Holding]:
    """A study at its peak, and DVC's copy of what it puts out."""
    own = [item for item in storage.items if item.kept != "cache"]
    copied = [item for item in storage.items if item.kept == "cache"]
    yield _sum(name, "repository", own)
    yield _sum(f"{name}, DVC's copy", "cache", copied)


def _sum(name: str, held: Held, items: Sequence[Stored]) -> Holding:
    return Holding(
        name=name, held=held, bytes=sum(item.bytes for item in items), files=sum(item.files for item in items)
    )
