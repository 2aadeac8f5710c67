"""Models whose commit nobody has stated yet: they can be estimated and looked for; nothing is computed with them."""

from __future__ import annotations

from trackyard.catalog.entries import UNPINNED
from trackyard.errors import ConfigError
from trackyard.recipes.datacomp.parameters import DatacompParameters

PIN = "trackyard data verify --models --profile theworld-100k"
"""States the commits of now."""


def unpinned(parameters: DatacompParameters) -> tuple[str, ...]:
    """Names of the parameters that state no commit."""
    found = {"datacomp.gemma.revision": parameters.gemma.revision, "datacomp.vae.revision": parameters.vae.revision}
    return tuple(name for name, revision in found.items() if revision == UNPINNED)


def require_pinned(parameters: DatacompParameters) -> None:
    """ConfigError unless every published model is pinned."""
    names = unpinned(parameters)
    if names:
        raise ConfigError(
            what=f"{' and '.join(names)}: {UNPINNED}",
            why="what `main` holds changes, and results would be of other weights without a word",
            fix=f"set them in the parameter file to the commits that are meant; `{PIN}` says what the hub holds now",
        )
