"""Outputs of a stage before it runs: removed, as `dvc repro` does it; what persists stays."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from trackyard.durable import TEMPORARY
from trackyard.launch.jobs.locked import locked_stage

if TYPE_CHECKING:
    from dvc.output import Output


def clear_outputs(root: Path, stage: str, *, persistent_only: bool) -> tuple[Path, ...]:
    """Remove the outputs of `stage`, but for those that persist; returns these, writable where they were links.

    persistent_only: remove nothing: others work on parts of the stage too, or DVC has done it. The caller holds `turn`.
    TrackyardError where DVC refuses.
    """
    with locked_stage(root, stage) as found:
        if not persistent_only:
            found.remove_outs()
        persistent = [out for out in found.outs if out.persist]
        for out in persistent:
            _unprotect(out)
        return tuple(Path(out.fs_path) for out in persistent)


def _unprotect(out: Output) -> None:
    """As DVC does it, while other parts of the stage write there: what is gone when its turn comes was renamed."""
    from dvc_objects.errors import ObjectDBError

    if not out.use_cache:
        return
    top = Path(out.fs_path)
    files = (Path(folder, name) for folder, _, names in os.walk(top) for name in names)
    for path in [top] if top.is_file() else files:
        if path.name.startswith(TEMPORARY):
            continue
        try:
            out.cache.unprotect(str(path))
        except (FileNotFoundError, ObjectDBError):
            if path.exists():
                raise
