"""`trackyard estimate`: what a stage will take, and whether a site allows it, before anything is asked for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trackyard.cli.printing import print_json
from trackyard.cli.root import repository_root
from trackyard.errors import ConfigError

if TYPE_CHECKING:
    from trackyard.estimate.devices import Device
    from trackyard.estimate.workload import Lengths
    from trackyard.launch.sites import Site


def estimate(
    track: Annotated[str, typer.Argument(help="molmo2, pile_ffn or datacomp")],
    stage: Annotated[str, typer.Argument(help="stage1, stage2 or stage3; train or study for the other tracks")],
    profile: Annotated[str | None, typer.Option(help="name or path; none: params.yaml")] = None,
    site: Annotated[str, typer.Option(help="a file of sites/")] = "local",
    partition: Annotated[str | None, typer.Option(help="of the site, not the first that fits")] = None,
    base: Annotated[str | None, typer.Option(help="value set instead of the profile's own: seed or report")] = None,
    preset: Annotated[str | None, typer.Option(help="size, for pile_ffn and datacomp")] = None,
    gpus: Annotated[int | None, typer.Option(min=1, help="ranks instead of the profile's processes")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="the estimate as JSON")] = False,
) -> None:
    """Predict memory, time, service units and jobs of a stage, check them, and name the smallest change that fits."""
    root = repository_root()
    from trackyard.cli.estimate_printing import print_estimate
    from trackyard.estimate.calibration import FILE, calibrate, cases_of, errors, read_measurements
    from trackyard.estimate.document import SCHEMA, as_document
    from trackyard.estimate.fit import smallest_change
    from trackyard.estimate.forecast import Machine, forecast, predict
    from trackyard.launch.sites import load_site
    from trackyard.recipes.stages import STUDY, Asked, device_named, profile_path, rebuild, require_known, workload

    require_known(track, stage)
    path = profile_path(root, profile)
    found = load_site(site, root)
    named = device_named(path)
    where = found.partition_for(named, partition)
    device = device_there(found, where, named)
    machine = Machine(site=found, partition_name=where, device=device)
    asked = Asked(
        track=track,
        stage=stage,
        profile=path,
        base=base,
        preset=preset,
        world=gpus,
        lengths=None if base else planned_lengths(root, path, track, stage),
    )
    work = workload(asked, device)
    if device.is_cpu and work.engine.precision == "bf16":
        raise ConfigError(
            what=f"{path.name} computes in bf16, and neither it nor site {site} names a GPU",
            why="a value set says what is learned, and not on what: its time and memory depend on the device",
            fix=f"trackyard estimate {track} {stage} --profile h100, or a site with GPUs: --site anvil",
        )
    cases = cases_of(read_measurements(root / FILE), device, lambda measured: rebuild(measured, root, device))
    if stage == STUDY:
        from trackyard.cli.estimate_study import print_study

        sys.exit(0 if print_study(asked, root, machine, calibrate(work, device, cases), as_json=as_json) else 1)
    outcome = forecast(work, machine, calibrate(work, device, cases))
    change = None if outcome.fits else smallest_change(outcome)
    off = errors(device, cases, lambda other, calibration: predict(other, machine, calibration))
    if as_json:
        print_json({"schema": SCHEMA} | as_document(outcome, change, off))
    else:
        print_estimate(outcome, change, off)
    sys.exit(0 if outcome.fits else 1)


def device_there(site: Site, partition: str, named: str | None) -> Device:
    """What trains: the partition's device; where it takes any, the profile's, and a CPU where that names none."""
    from trackyard.estimate.devices import device_of

    there = site.partitions[partition].device
    return device_of((named or "cpu") if there == "any" else there)


def planned_lengths(root: Path, profile: Path, track: str, stage: str) -> Lengths | None:
    """Means of the newest plan with these settings and data; None where there is none."""
    if track != "molmo2":
        return None
    from trackyard.cli.stage_settings import fitting_plans, read_settings
    from trackyard.digest import short
    from trackyard.estimate.workload import Lengths
    from trackyard.snapshot.manifest import NAME

    settings = read_settings(root, profile, stage)
    if not any((root / settings.snapshot).glob(f"*/{NAME}")):
        return None
    plans = fitting_plans(root, settings)
    if not plans:
        return None
    _, document = plans[0]
    return Lengths.of_totals(document["summary"]["totals"], source=f"plan {short(document['fingerprint'])}")
