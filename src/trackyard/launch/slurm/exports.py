"""What of the environment of `trackyard submit` its jobs see, and what a site and the rules of jobs add to it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from trackyard.launch.chosen import SITE_VARIABLE
from trackyard.launch.image.environment import offline
from trackyard.launch.sites import Need, Site

CARRIED = frozenset(
    ("APPTAINER_CACHEDIR", "HF_HOME", "HF_HUB_CACHE", "HOME", "LANG", "LC_ALL", "LOGNAME", "MLFLOW_TRACKING_URI",
     "PATH", "TZ", "USER")
)  # fmt: skip
"""Where programs, caches and records are. No token is among them, and no PYTHONPATH."""
PROXIES = frozenset(("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"))
"""For jobs that need the internet."""
_VARIABLE = re.compile(r"\$\{?([A-Za-z_]\w*)")
_OWN = "TRACKYARD_"
_OF_THIS_PROCESS = frozenset(("TRACKYARD_IMAGE_DIGEST", "TRACKYARD_JOB"))
"""They say where this process runs, which is not where the job will."""


def job_exports(site: Site, needs: Need, *, environment: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Variables of a job whose stage needs `needs`, by name; those of the site hold before those of `environment`.

    Only `network` jobs may call hubs: for all others the variables that forbid it are set (hpc spec section 10).
    """
    names = CARRIED | _of_site(site) | (PROXIES if needs == "network" else frozenset())
    carried = {
        name: value
        for name, value in environment.items()
        if name in names or (name.startswith(_OWN) and name not in _OF_THIS_PROCESS)
    }
    forbidden = {} if needs == "network" else offline()
    return tuple(sorted({**carried, **site.network.environment, **forbidden, SITE_VARIABLE: site.name}.items()))


def _of_site(site: Site) -> frozenset[str]:
    """Variables by which the site names its account, its file systems and what it binds into the image."""
    stores = (site.home, site.scratch, site.project, site.image_store)
    paths = {store.path_variable for store in stores if store is not None}
    bound = {name for bind in site.binds for name in _VARIABLE.findall(bind) if not name.startswith("SLURM_")}
    return frozenset(paths | bound | ({site.account_variable} if site.account_variable else set()))
