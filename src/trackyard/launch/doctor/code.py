"""Whether a run that starts now can name its code."""

from __future__ import annotations

from pathlib import Path

import trackyard
from trackyard.errors import EnvironmentLacking
from trackyard.launch.doctor.asked import Asked
from trackyard.launch.preflight import Seen, Warned
from trackyard.record.code import DETERMINING, code_identity, package_digest

PACKAGE = Path("src") / "trackyard"


def code_row(asked: Asked) -> Seen:
    """The commit of what decides results, whether anything of it is not committed, and whether it is what runs."""
    own = asked.root / PACKAGE
    if own.is_dir() and package_digest(own) != package_digest():
        raise EnvironmentLacking(
            what=f"the code that runs is {Path(trackyard.__file__).parent}, and {own} is other code",
            why="a run would be recorded under the commit of this checkout, and made by that other code",
            fix="make setup && source .venv/bin/activate",
        )
    found = code_identity(asked.root, asked.runner, asked.environment)
    if found.dirty_digest is not None:
        raise Warned(
            what=f"{', '.join(DETERMINING)} differ from commit {found.commit[:12]}",
            why="runs made now carry a digest of the difference, and nobody can get that code back from it",
            fix=f"git status {' '.join(DETERMINING)}; git commit",
        )
    return Seen(detail=f"commit {found.commit[:12]}, nothing changed since in {', '.join(DETERMINING)}", examined=1)
