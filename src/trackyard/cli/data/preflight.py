"""`trackyard data verify pile|--models`: what a study of published models needs, checked before it is started."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal

from trackyard.cli.printing import print_check, print_json
from trackyard.cli.root import repository_root
from trackyard.errors import ConfigError
from trackyard.launch.preflight import SCHEMA, Report, Row

if TYPE_CHECKING:
    from pathlib import Path

REPORT = "artifacts/{track}/preflight.json"
TEXT = "pile-uncopyrighted"
PROFILE = "pythia-1.4b"
"""The Pile study at full size: the checks are of what it needs, unless another profile is named."""
Mode = Literal["quick", "default", "full"]


def preflight(*, profile: str | None, pile: bool, quick: bool, full: bool, offline: bool, as_json: bool) -> None:
    """Run the checks of a mode, print a row each, and keep the report. pile: of that study, by name."""
    if quick and full:
        raise ConfigError(
            what="--quick and --full together",
            why="each is a mode of its own; full does all that quick does",
            fix="trackyard data verify pile --full",
        )
    from trackyard.parameters import read_layered
    from trackyard.recipes.stages import profile_path
    from trackyard.schema import write_document

    root = repository_root()
    path = profile_path(root, profile or PROFILE)
    track = "pile_ffn" if pile or "pile_ffn" in read_layered(path) else "datacomp"
    mode: Mode = "quick" if quick else "full" if full else "default"
    check = _pile_ffn if track == "pile_ffn" else _datacomp
    report = check(root, path, mode, named=profile is not None, offline=offline, quiet=as_json)
    totals = {state: report.count(state) for state in ("passed", "failed", "skipped")}
    body = {
        "mode": mode,
        "offline": offline,
        "proved": report.ok,
        "fetched_bytes": report.fetched,
        "totals": totals,
        "rows": [{name: getattr(row, name) for name in Row.__slots__} for row in report.rows],
    }
    where = REPORT.format(track=track)
    write_document(root / where, SCHEMA, body)
    if as_json:
        print_json({"schema": SCHEMA} | body)
    else:
        counts = ", ".join(f"{count} {state}" for state, count in totals.items())
        print(f"{len(report.rows)} checks: {counts}; {report.fetched:,} bytes fetched; {where}")
    sys.exit(0 if report.ok else 1)


def _pile_ffn(root: Path, profile: Path, mode: Mode, *, named: bool, offline: bool, quiet: bool) -> Report:
    from trackyard.acquire.places import Places
    from trackyard.catalog.entries import load_catalogue
    from trackyard.catalog.selection import find, select
    from trackyard.estimate.devices import device_of
    from trackyard.recipes.pile_ffn.parameters import load_pile_ffn
    from trackyard.recipes.pile_ffn.preflight.checks import PreflightParameters, run_preflight
    from trackyard.recipes.stages import device_named

    catalogue, device = load_catalogue(root / "catalog"), device_named(profile)
    expected = PreflightParameters.of(load_pile_ffn(profile), device_of(device) if device else None)
    if not named:
        # Nobody said that the study will run here: room is asked for what this command fetches.
        expected = expected.model_copy(update={"planned_bytes": 0, "planned_files": 0})
    return run_preflight(
        find(catalogue, TEXT),
        [entry for entry in select(catalogue, ["pile"]) if entry.name != TEXT],
        expected,
        mode=mode,
        offline=offline,
        places=Places.of(root),
        root=root,
        progress=None if quiet else print_check,
    )


def _datacomp(root: Path, profile: Path, mode: Mode, *, named: bool, offline: bool, quiet: bool) -> Report:
    """named: a profile of this track always is."""
    from trackyard.acquire.places import Places
    from trackyard.catalog.entries import load_catalogue
    from trackyard.recipes.datacomp.parameters import load_datacomp
    from trackyard.recipes.datacomp.preflight.checks import run_preflight
    from trackyard.recipes.stages import device_named

    return run_preflight(
        load_datacomp(profile),
        load_catalogue(root / "catalog"),
        mode=mode,
        offline=offline,
        places=Places.of(root),
        root=root,
        device=device_named(profile),
        progress=None if quiet else print_check,
    )
