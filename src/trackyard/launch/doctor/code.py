"""Whether a run that starts now can name its code."""

from __future__ import annotations

from trackyard.launch.doctor.asked import Asked
from trackyard.launch.preflight import Seen, Warned
from trackyard.record.code import DETERMINING, code_identity


def code_row(asked: Asked) -> Seen:
    """The commit of what decides results, and whether anything of it is not committed."""
    found = code_identity(asked.root, asked.runner, asked.environment)
    if found.dirty_digest is not None:
        raise Warned(
            what=f"{', '.join(DETERMINING)} differ from commit {found.commit[:12]}",
            why="runs made now carry a digest of the difference, and nobody can get that code back from it",
            fix=f"git status {' '.join(DETERMINING)}; git commit",
        )
    return Seen(detail=f"commit {found.commit[:12]}, nothing changed since in {', '.join(DETERMINING)}", examined=1)
