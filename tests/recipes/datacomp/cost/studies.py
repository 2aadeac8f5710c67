"""Studies that the tests of this folder estimate: the shipped profiles, and one of made models."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from trackyard.estimate.calibration import Calibration
from trackyard.estimate.devices import DEVICES
from trackyard.estimate.forecast import Machine
from trackyard.launch.sites import Site, load_site
from trackyard.recipes.datacomp.cost.estimating import StudyEstimate, estimate_study
from trackyard.recipes.datacomp.cost.planning import Pace
from trackyard.recipes.datacomp.parameters import DatacompParameters, load_datacomp

ROOT = Path(__file__).resolve().parents[4]


@cache
def profile(name: str) -> DatacompParameters:
    return load_datacomp(ROOT / "profiles" / f"{name}.yaml")


def made() -> DatacompParameters:
    """Tiny models on the project's own scenes."""
    return DatacompParameters.model_validate(
        {
            "seeds": [42, 1337],
            "gemma": {"id": "tiny", "made": {}},
            "vae": {"id": "tiny-vae", "made": {}},
            "data": {"samples": 240, "source": {"kind": "mini", "mini_rows": 480}},
            "training": {"epochs": 4, "warmup_steps": 5},
            "evaluation": {"source": "made"},
        }
    )


def estimated(
    name: str, device: str, *, site: Site | None = None, gpus: int = 1, pace: Pace | None = None
) -> StudyEstimate:
    """A shipped profile on a partition of a site with such a device."""
    where = site or load_site("slurm-template", ROOT)
    found = DEVICES[device]
    machine = Machine(site=where, partition_name=where.partition_for(device), device=found)
    assumed = Calibration(rate=found.rate, reserved=found.reserved_bytes, source="assumed")
    study = profile(name).model_copy(update={"processes": gpus})
    return estimate_study(study, machine, assumed, pace)
