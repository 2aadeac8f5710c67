"""Where a stage runs: in this process, inside the site's image, or as a batch job. dvc.yaml says nothing of it.

    trackyard run molmo2 stage2                                   in this process
    TRACKYARD_SITE=local-apptainer trackyard run molmo2 stage2    the same command again, inside the site's image
    TRACKYARD_SITE=anvil trackyard run molmo2 stage2              a job that does that; returns when it has ended

Source: design section 6.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from trackyard.launch.chosen import chosen_site
from trackyard.launch.sites import Need, Site
from trackyard.launch.stage_needs import IN_IMAGE, need_of
from trackyard.record.image import IMAGE_VARIABLE
from trackyard.runner import Runner

JOB = "SLURM_JOB_ID"

Say = Callable[[str], None]


def run_elsewhere(
    root: Path,
    track: str,
    stage: str,
    item: str | None,
    options: Sequence[str],
    *,
    environment: Mapping[str, str],
    runner: Runner,
    say: Say,
) -> int | None:
    """Run a stage where the site says, and return its exit code; None where that is this process.

    options: of `trackyard run`, behind stage and item. Inside an image this process becomes the other one, so that
    signals reach it, and nothing returns. TrackyardError where site, image or scheduler cannot do it.
    """
    site = chosen_site(root, environment)
    if site is None or environment.get(IMAGE_VARIABLE):
        return None
    found = need_of(root, track, stage, item)
    command = ("trackyard", "run", track, stage, *([item] if item else []), *options)
    # A stage that needs the internet runs where it is called where no job would have it: on a login node.
    if site.scheduler == "slurm" and JOB not in environment and (found.needs != "network" or "network" in site.shapes):
        from trackyard.launch.jobs.single import run_as_job

        return run_as_job(root, site, found, command, environment=environment, runner=runner, say=say)
    if site.image is not None and found.needs in IN_IMAGE:
        enter(root, site, found.needs, command, environment, runner)
    return None


def enter(
    root: Path, site: Site, needs: Need, command: Sequence[str], environment: Mapping[str, str], runner: Runner
) -> None:
    """Become `command` inside the site's image: this process goes on as the other one, and nothing returns."""
    from trackyard.launch.image.entering import entering_argv, entering_environment
    from trackyard.launch.image.finding import image_of
    from trackyard.launch.image.inside import entering_for

    image, digest = image_of(root, site, environment)
    inside = ("python", "-m", *command)
    gpus = _has_gpus(site, needs)
    entering = entering_for(root, image, digest, inside, site=site, gpus=gpus, runner=runner, environment=environment)
    argv = entering_argv(entering)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execvpe(argv[0], argv, entering_environment(entering, environment))


def _has_gpus(site: Site, needs: Need) -> bool:
    """Whether what serves this need has GPUs, of this machine's own where the site has no scheduler."""
    if needs in site.shapes:
        return site.shapes[needs].gpus_per_node > 0
    return Path("/dev/nvidiactl").exists()
