"""`trackyard data fetch|status`: bring entries to disk, and say how far that has come."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trackyard.cli.data.knowing import AsJson, Selection
from trackyard.cli.data.making import DryRun
from trackyard.cli.printing import Failures, print_json, size
from trackyard.cli.root import repository_root
from trackyard.cli.stopping import resumable
from trackyard.errors import ConfigError, EnvironmentLacking, StoppedEarly, TrackyardError

if TYPE_CHECKING:
    from trackyard.acquire.fetching import Brought, Decision, Does, Options, Step
    from trackyard.acquire.places import Places
    from trackyard.acquire.web.addresses import AddressPolicy
    from trackyard.catalog.entries import Entry

ALLOW = "TRACKYARD_ALLOW_ADDRESSES"
"""Networks beside the public ones that URLs may lead into, separated by commas."""
STEPS = "trackyard-fetch-steps/1"
FETCHED = "trackyard-fetched/1"
WOULD: dict[Does, str] = {
    "fetch": "would fetch ", "retry": "would try again what failed of ", "take": "would take ",
    "compare": "would ask the hub whether it has moved on: ", "nothing": "nothing to do: ", "stop": "would stop at ",
}  # fmt: skip


def fetch(
    names: Annotated[list[str], typer.Argument(help="selections or entries")],
    archive: Annotated[
        list[Path] | None, typer.Option(help="a file or folder that was taken by hand, or a folder to look for it in")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="of lists of URLs: try what failed again")
    ] = False,
    shard: Annotated[
        str | None, typer.Option(help="K/N: one of N parts, K from 0, for N machines; of whole repositories")
    ] = None,
    endpoint: Annotated[str | None, typer.Option(help="another hub; default: HF_ENDPOINT, else the public one")] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Bring entries and what they need. Run it again after any interruption: what is complete is left alone.

    After all parts of --shard the same command without it finds everything there, or brings and names what is not.
    """
    from trackyard.acquire.fetching import Options, give
    from trackyard.acquire.places import Places

    root = repository_root()
    places = Places.of(root)
    whole = _work(root, names, places)
    work = _part(whole, names, shard)
    # Options are of the whole: the same command with --shard K/N is right for every K.
    if retry_failed and not any(step.kind == "images" for _, step in whole):
        raise ConfigError(
            what=f"--retry-failed for {' '.join(names)}",
            why="it tries lists of URLs again, and none of these has one",
            fix=f"trackyard data fetch {' '.join(names)}: what is complete is left alone",
        )
    options = Options(
        endpoint=endpoint,
        archives=give([step for _, step in whole], [path.expanduser() for path in archive or ()]),
        retry_failed=retry_failed,
        policy=_policy(),
    )
    (_rehearse if dry_run else _bring)(work, places, options, as_json=as_json)


def _bring(work: list[tuple[Entry, Step]], places: Places, options: Options, *, as_json: bool) -> None:
    brought: list[Brought] = []
    left: list[Step] = []
    failures = Failures()
    without_tables: set[str] = set()
    step: Step | None = None
    try:
        with resumable():
            for entry, step in work:
                if step.kind == "images" and entry.name in without_tables:
                    left.append(step)
                    sys.stderr.write(f"not tried: the images of {entry.name}, whose addresses did not come\n")
                    continue
                try:
                    found = _watched(entry, step, places, options)
                except TrackyardError as error:
                    # The other entries do not depend on this one: they are brought before the command ends.
                    failures.add(error, entry=step.entry, kind=step.kind)
                    if step.kind == "repository":
                        without_tables.add(entry.name)
                    continue
                brought.append(found)
                for warning in found.warnings:
                    sys.stderr.write(f"warning: {entry.name}: {warning}\n")
                if not as_json:
                    _print_brought(found)
    except StoppedEarly as stop:
        failures.add(stop, entry=step.entry if step else "", kind=step.kind if step else "")
    if as_json:
        print_json({"schema": FETCHED, "brought": brought, "stopped": failures.document(), "not_tried": left})
    else:
        print(f"{len(brought)} of {len(work)} steps done, {len(failures)} stopped")
    sys.exit(failures.exit_code)


def _watched(entry: Entry, step: Step, places: Places, options: Options) -> Brought:
    from trackyard.acquire.fetching import UNITS, bring
    from trackyard.cli.watching import Bar

    try:
        with Bar(f"{entry.name} {step.kind}", UNITS[step.kind]) as bar:
            return bring(entry, step, places, options, watch=bar.at)
    except OSError as error:
        raise EnvironmentLacking(
            what=f"{entry.name}: {error}",
            why="nothing half written stays under its final name, and what was complete before is untouched",
            fix="make room or restore access there, then run the same command again: it goes on from here",
        ) from error


def _print_brought(found: Brought) -> None:
    there = ", there already" if found.does == "nothing" else ""
    print(f"{found.step.entry:28} {found.step.kind:10} {found.files:,} files, {size(found.bytes)}{there}", flush=True)
    if found.counts:
        counts = ", ".join(f"{name} {count:,}" for name, count in found.counts.items())
        print(f"{'':28} {'':10} {counts}", flush=True)


def _rehearse(work: list[tuple[Entry, Step]], places: Places, options: Options, *, as_json: bool) -> None:
    """Print what the same command would do without --dry-run, and end as it would as far as that can be known."""
    from trackyard.acquire.fetching import rehearse

    decided = [(step, rehearse(entry, step, places, options)) for entry, step in work]
    failures = Failures()
    for step, decision in decided:
        if not as_json:
            given = f" from {', '.join(map(str, decision.given))}" if decision.given else ""
            doing = f"{WOULD[decision.does]}{step.kind}: {step.what}{given} -> {step.target}"
            _print_step(step, doing)
        if decision.problem is not None:
            failures.add(decision.problem, entry=step.entry, kind=step.kind)
    if as_json:
        steps = [_step(step) | _does(decision) for step, decision in decided]
        print_json({"schema": STEPS, "dry_run": True, "steps": steps, "stopped": failures.document()})
    else:
        nothing = sum(decision.does == "nothing" for _, decision in decided)
        print(f"{len(decided)} steps, {nothing} with nothing to do, {len(failures)} would stop")
    sys.exit(failures.exit_code)


def status(selection: Selection = None, as_json: AsJson = False) -> None:
    """How far each entry has come: absent, partial or complete, part by part. Reads the disk only."""
    from trackyard.acquire.places import Places

    root = repository_root()
    steps = [step for _, step in _work(root, selection or ["stage1"], Places.of(root))]
    if as_json:
        print_json({"schema": STEPS, "dry_run": False, "steps": [_step(step) for step in steps]})
        return
    for step in steps:
        _print_step(step, f"{step.kind}: {step.what} -> {step.target}")
    complete = sum(step.state == "complete" for step in steps)
    print(f"{complete} of {len(steps)} parts complete")


def _work(root: Path, names: list[str], places: Places) -> list[tuple[Entry, Step]]:
    from trackyard.acquire.fetching import steps_of
    from trackyard.catalog.entries import load_catalogue
    from trackyard.catalog.selection import closure, select

    catalogue = load_catalogue(root / "catalog")
    return [(entry, step) for entry in closure(catalogue, select(catalogue, names)) for step in steps_of(entry, places)]


def _part(work: list[tuple[Entry, Step]], names: list[str], shard: str | None) -> list[tuple[Entry, Step]]:
    """What one of several machines does: whole groups of entries. ConfigError for none."""
    from trackyard.recipes.parts import part_named

    part = part_named(shard, again=f"trackyard data fetch {' '.join(names)}")
    groups = _groups(work)
    mine = set[str]().union(*part.of_list(groups))
    if not mine:
        raise ConfigError(
            what=f"--shard {shard} of {len(groups)} groups of entries that share no repository",
            why="this part has nothing to do, and would look done",
            fix=f"trackyard data fetch {' '.join(names)} --shard 0/{len(groups)}",
        )
    return [(entry, step) for entry, step in work if entry.name in mine]


def _groups(work: list[tuple[Entry, Step]]) -> list[set[str]]:
    """Entries whose steps need each other, or one hub repository: only one process at a time brings its copy."""
    groups: list[tuple[set[str], set[str]]] = []
    for entry, step in work:
        names, repositories = {entry.name}, {step.source.repo} if step.source else set[str]()
        apart = []
        for group in groups:
            if names & group[0] or repositories & group[1]:
                names, repositories = names | group[0], repositories | group[1]
            else:
                apart.append(group)
        groups = [*apart, (names, repositories)]
    return [names for names, _ in groups]


def _policy() -> AddressPolicy:
    from trackyard.acquire.web.addresses import AddressPolicy

    return AddressPolicy.parse([text.strip() for text in os.environ.get(ALLOW, "").split(",") if text.strip()])


def _step(step: Step) -> dict[str, object]:
    return {
        "entry": step.entry, "kind": step.kind, "what": step.what, "target": step.target, "bytes": step.bytes,
        "state": step.state, "detail": step.detail,
    }  # fmt: skip


def _does(decision: Decision) -> dict[str, object]:
    return {"does": decision.does, "given": decision.given}


def _print_step(step: Step, doing: str) -> None:
    print(f"{step.entry:28} {step.state:9} {doing}")
    print(f"{'':28} {'':9} {size(step.bytes)} expected; {step.detail}")
