"""Outputs of a stage before it runs: removed, as `dvc repro` does it; what persists stays."""

from __future__ import annotations

from pathlib import Path

from trackyard.launch.jobs.locked import locked_stage


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
            out.unprotect()
        return tuple(Path(out.fs_path) for out in persistent)
