"""Jobs that Slurm has accepted and nobody noted, because their submission was cut off between the two."""

from __future__ import annotations

import re

from trackyard.launch.jobs.store import SCRIPT, Kept
from trackyard.launch.slurm.client import SlurmClient
from trackyard.launch.slurm.ids import tasks_of
from trackyard.launch.slurm.script import name_of

_ARRAY = re.compile(r"^#SBATCH --array=\"(.*)\"$", re.MULTILINE)


def in_doubt(kept: Kept) -> list[str]:
    """Jobs alone and arrays whose submission was begun, and of which no end is noted."""
    return [unit for unit in dict.fromkeys(job.array or job.name for job in kept.graph.jobs) if kept.in_doubt(unit)]


def adopt(kept: Kept, client: SlurmClient) -> None:
    """Note what is in doubt and Slurm knows by its name; what it knows not was never submitted.

    The caller holds `turn`, so nobody submits at this moment. EnvironmentLacking where Slurm is not reached: the doubt
    stays.
    """
    for unit in in_doubt(kept):
        _settle(kept, unit, client)


def _settle(kept: Kept, unit: str, client: SlurmClient) -> None:
    script = kept.folder(unit) / SCRIPT
    text = script.read_text(encoding="utf-8")
    slurm_id = client.named(name_of(text))
    if slurm_id is None:
        script.unlink()
        return
    array = _ARRAY.search(text)
    indices = None if array is None else [int(one.partition("_")[2]) for one in tasks_of(f"{slurm_id}_[{array[1]}]")]
    kept.note_submitted(unit, slurm_id, indices)
