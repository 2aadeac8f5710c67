"""Runs by what people type: an id or its beginning, track/stage/id, a run directory, or a folder with lineage.json."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from trackyard.errors import ConfigError
from trackyard.record.lineage.document import LINEAGE, read_lineage
from trackyard.record.rundir import SPEC, all_runs

_SHOWN = 8


def find_runs(names: Sequence[str], runs_root: Path) -> list[Path]:
    """The directory of each run, in order.

    ConfigError for a name of no run or of several, with the nearest ones; DataError for a damaged lineage.json.
    """
    known: list[Path] = []
    found = []
    for name in names:
        path = Path(name)
        if (path / SPEC).is_file():
            found.append(path)
            continue
        known = known or all_runs(runs_root)
        folder = path.parent if path.name == LINEAGE else path
        made_by = read_lineage(folder).run_id if (folder / LINEAGE).is_file() else None
        found.append(_only(name, made_by, known))
    return found


def _only(name: str, made_by: str | None, known: Sequence[Path]) -> Path:
    wanted = made_by or name.strip("/")
    # A whole name is meant as such, also where another one goes on from it.
    matches = [path for path in known if wanted in (path.name, _label(path))] or [
        path for path in known if _begins(path, wanted)
    ]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise ConfigError(
            what=f"{name} is the beginning of {len(matches)} runs: {_listed(matches)}",
            why="a comparison is of runs that were meant",
            fix=f"name more of it, for example {_label(matches[0])}",
        )
    near = _nearest(wanted, known)
    raise ConfigError(
        what=f"{name} was made by run {made_by}, which is not on this machine" if made_by else f"no run {name}",
        why=f"the nearest of {len(known)} runs: {_listed(near)}" if near else "there are no runs here",
        fix=f"name one of them, for example {_label(near[0])}"
        if near
        else "bring runs/ to this machine, or run a stage",
    )


def _begins(path: Path, wanted: str) -> bool:
    return path.name.startswith(wanted) or ("/" in wanted and _label(path).startswith(wanted))


def _nearest(wanted: str, known: Sequence[Path]) -> list[Path]:
    """By the likeness of the id, or of the whole name where one was given."""
    labels = {(_label(path) if "/" in wanted else path.name): path for path in known}
    return [labels[label] for label in difflib.get_close_matches(wanted, labels, n=_SHOWN, cutoff=0.0)]


def _label(path: Path) -> str:
    return "/".join(path.parts[-3:])


def _listed(paths: Sequence[Path]) -> str:
    more = len(paths) - _SHOWN
    return ", ".join(map(_label, paths[:_SHOWN])) + (f" and {more} more" if more > 0 else "")
