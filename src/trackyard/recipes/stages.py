"""The stages that can be estimated, by track and name, as workloads. Torch is not imported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trackyard.errors import ConfigError
from trackyard.estimate.calibration import Measured
from trackyard.estimate.devices import Device
from trackyard.estimate.workload import Lengths, Workload
from trackyard.parameters import read_layered
from trackyard.recipes.datacomp.cost import sizes as datacomp
from trackyard.recipes.molmo2 import sizes as molmo2
from trackyard.recipes.molmo2.parameters import STAGES, load_molmo2
from trackyard.recipes.pile_ffn.cost import sizes as pile_ffn
from trackyard.recipes.pile_ffn.parameters import load_pile_ffn

STUDY = "study"
"""Stage of an estimate of all of a track's jobs together."""
TRACKS: dict[str, tuple[str, ...]] = {"molmo2": STAGES, "pile_ffn": ("train", STUDY), "datacomp": ("train", STUDY)}
PROFILES = Path("profiles")
ENDINGS = (".yaml", ".yml")


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """Which stage, and how it is changed on the command line.

    profile: a parameter file; base: the value set to take instead of the one it extends; preset: size of a track
    without a profile of its own; world: GPUs or processes instead of the profile's; lengths: of the stage's plan.
    """

    track: str
    stage: str
    profile: Path
    base: str | None = None
    preset: str | None = None
    world: int | None = None
    lengths: Lengths | None = None


def require_known(track: str, stage: str) -> None:
    """ConfigError unless there is such a stage."""
    if track not in TRACKS or stage not in TRACKS[track]:
        known = ", ".join(f"{name} {one}" for name, stages in TRACKS.items() for one in stages)
        raise ConfigError(
            what=f"no stage {stage!r} of track {track!r}",
            why=f"there are {known}",
            fix="trackyard estimate molmo2 stage1 --profile h100",
        )


def profile_path(root: Path, name: str | None) -> Path:
    """A profile by its name or path; none: the parameters in force."""
    if name is None:
        return root / "params.yaml"
    given = Path(name)
    # A dot alone makes no ending: there is a profile pythia-1.4b.
    path = root / given if given.suffix in ENDINGS else root / PROFILES / f"{name}.yaml"
    if not path.is_file():
        there = ", ".join(sorted(one.stem for one in (root / PROFILES).glob("*.yaml")))
        raise ConfigError(
            what=f"there is no profile {name!r}",
            why=f"{PROFILES}/ has {there}",
            fix="name one of them, or the path of a parameter file",
        )
    return path


def device_named(profile: Path) -> str | None:
    """The device that a profile was written for; None where it names none."""
    found = read_layered(profile).get("device")
    return None if found is None else str(found)


def workload(asked: Asked, device: Device) -> Workload:
    """The stage in numbers, as it is computed on such a device; of a study, the training of one arm."""
    require_known(asked.track, asked.stage)
    if asked.track == "molmo2":
        parameters = load_molmo2(asked.profile, base=asked.base)
        name = next(one for one in STAGES if one == asked.stage)
        return molmo2.workload(parameters, name, lengths=asked.lengths, dense=device.is_cpu, world=asked.world)
    # A preset is a size without a profile; a study always has one.
    profiled = asked.preset is None and asked.track in read_layered(asked.profile, base=asked.base)
    if asked.track == "datacomp":
        if profiled or asked.stage == STUDY:
            from trackyard.recipes.datacomp.parameters import load_datacomp

            return datacomp.study_workload(load_datacomp(asked.profile, base=asked.base), device, world=asked.world)
        return datacomp.workload(asked.preset, device, world=asked.world)
    if profiled:
        return pile_ffn.study_workload(load_pile_ffn(asked.profile, base=asked.base), device, world=asked.world)
    return pile_ffn.workload(asked.preset, device, world=asked.world)


def rebuild(measured: Measured, root: Path, device: Device) -> Workload:
    """The workload that a recorded run was."""
    require_known(measured.track, measured.stage)
    if measured.track == "molmo2":
        asked = Asked(
            track=measured.track,
            stage=measured.stage,
            profile=root / PROFILES / f"{measured.profile}.yaml",
            world=measured.world,
            lengths=measured.lengths,
        )
        return workload(asked, device).changed(**measured.engine)
    if measured.track == "pile_ffn":
        return pile_ffn.workload(
            measured.preset or None,
            device,
            world=measured.world,
            engine=measured.engine,
            tokens_per_step=round(measured.lengths.tokens),
        )
    return datacomp.workload(measured.preset or None, device, world=measured.world, engine=measured.engine)
