"""Which site a command runs at: the one that the environment names, or none."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from trackyard.launch.sites import Site, load_site

SITE_VARIABLE = "TRACKYARD_SITE"
"""Names a file of sites/. Unset: stages run in this process, as at the site local."""


def chosen_site(root: Path, environment: Mapping[str, str] | None = None) -> Site | None:
    """The site that SITE_VARIABLE names; None where it names none. ConfigError where there is no such site."""
    name = (os.environ if environment is None else environment).get(SITE_VARIABLE)
    return load_site(name, root) if name else None
