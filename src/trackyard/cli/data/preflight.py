"""`trackyard data verify pile`: the ten checks of the Pile study's models and data."""

from __future__ import annotations

import sys

from trackyard.cli.printing import print_check, print_json
from trackyard.cli.root import repository_root
from trackyard.errors import ConfigError
from trackyard.launch.preflight import SCHEMA, Row

REPORT = "artifacts/pile_ffn/preflight.json"
TEXT = "pile-uncopyrighted"


PROFILE = "pythia-1.4b"
"""The study at full size: the checks are of what it needs, unless another profile is named."""


def preflight(*, profile: str | None, quick: bool, full: bool, offline: bool, as_json: bool) -> None:
    """Run the checks of a mode, print a row each, and keep the report."""
    if quick and full:
        raise ConfigError(
            what="--quick and --full together",
            why="each is a mode of its own; full does all that quick does",
            fix="trackyard data verify pile --full",
        )
    from trackyard.acquire.places import Places
    from trackyard.catalog.entries import load_catalogue
    from trackyard.catalog.selection import find, select
    from trackyard.estimate.devices import device_of
    from trackyard.recipes.pile_ffn.parameters import load_pile_ffn
    from trackyard.recipes.pile_ffn.preflight.checks import Mode, PreflightParameters, run_preflight
    from trackyard.recipes.stages import device_named, profile_path
    from trackyard.schema import write_document

    root = repository_root()
    catalogue = load_catalogue(root / "catalog")
    path = profile_path(root, profile or PROFILE)
    named = device_named(path)
    expected = PreflightParameters.of(load_pile_ffn(path), device_of(named) if named else None)
    if profile is None:
        # Nobody said that the study will run here: room is asked for what this command fetches.
        expected = expected.model_copy(update={"planned_bytes": 0, "planned_files": 0})
    mode: Mode = "quick" if quick else "full" if full else "default"
    report = run_preflight(
        find(catalogue, TEXT),
        [entry for entry in select(catalogue, ["pile"]) if entry.name != TEXT],
        expected,
        mode=mode,
        offline=offline,
        places=Places.of(root),
        root=root,
        progress=None if as_json else print_check,
    )
    totals = {state: report.count(state) for state in ("passed", "failed", "skipped")}
    body = {
        "mode": mode,
        "offline": offline,
        "proved": report.ok,
        "fetched_bytes": report.fetched,
        "totals": totals,
        "rows": [{name: getattr(row, name) for name in Row.__slots__} for row in report.rows],
    }
    write_document(root / REPORT, SCHEMA, body)
    if as_json:
        print_json({"schema": SCHEMA} | body)
    else:
        counts = ", ".join(f"{count} {state}" for state, count in totals.items())
        print(f"{len(report.rows)} checks: {counts}; {report.fetched:,} bytes fetched; {REPORT}")
    sys.exit(0 if report.ok else 1)
