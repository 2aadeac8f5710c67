"""What jobs are granted at a site, and what of it is lacking: an account, a partition, an image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from trackyard.errors import ConfigError, TrackyardError
from trackyard.launch.image.finding import image_of
from trackyard.launch.requests import account_of, settle, shape_of
from trackyard.launch.sites import Need, Site
from trackyard.launch.slurm.batch import Request
from trackyard.launch.stage_needs import IN_IMAGE

ON_GPUS: frozenset[Need] = frozenset({"train", "gpu"})
"""Needs that another partition can be named for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Granting:
    """A site that answers requests. partition: of jobs with GPUs, in place of their shapes'. obstacles: to all jobs."""

    site: Site
    partition: str | None
    environment: Mapping[str, str]
    obstacles: tuple[TrackyardError, ...]

    @classmethod
    def of(cls, site: Site, partition: str | None, environment: Mapping[str, str]) -> Self:
        """Where nobody is named who pays, that is an obstacle, and the sizes of jobs can be settled still."""
        try:
            account_of(site, environment)
        except ConfigError as error:
            unpaid = site.model_copy(update={"account_variable": None})
            return cls(site=unpaid, partition=partition, environment=environment, obstacles=(error,))
        return cls(site=site, partition=partition, environment=environment, obstacles=())

    def request(self, stage: str, needs: Need) -> Request | ConfigError:
        """The size of the job of a stage, or why there is none. ConfigError for a site that takes no jobs at all."""
        try:
            shape = shape_of(self.site, needs, stage=stage)
            if self.partition is not None and needs in ON_GPUS:
                shape = shape.model_copy(update={"partition": self.partition})
            return settle(self.site, needs, shape, environment=self.environment)
        except ConfigError as error:
            if self.site.scheduler == "none":
                raise
            return error


def lacking_image(
    root: Path, site: Site, needs: Iterable[Need], environment: Mapping[str, str]
) -> list[TrackyardError]:
    """Why the image of the site cannot be entered, where a job would; found now, and not when its turn has come."""
    if site.image is None or not IN_IMAGE & set(needs):
        return []
    try:
        image_of(root, site, environment)
    except TrackyardError as error:
        return [error]
    return []
