"""What the doctor is asked about: a checkout, a site, an environment, and the stage that is meant, if any."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trackyard.launch.sites import FOLDER, Site
from trackyard.record.image import IMAGE_VARIABLE
from trackyard.runner import Runner


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """A stage and what it takes. bytes: of its checkpoints or files at once below runs/; files: None where only bytes
    are estimated. gated: repositories whose terms must be accepted and that are not here yet."""

    name: str
    bytes: int
    files: int | None
    gated: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """root: of the repository. wanted: None where no stage was named."""

    root: Path
    site: Site
    runner: Runner
    environment: Mapping[str, str] = field(repr=False)
    wanted: Wanted | None = None

    @property
    def in_job(self) -> bool:
        return bool(self.environment.get("SLURM_JOB_ID"))

    @property
    def in_image(self) -> bool:
        return bool(self.environment.get(IMAGE_VARIABLE))

    @property
    def site_file(self) -> str:
        return f"{FOLDER}/{self.site.name}.yaml"
