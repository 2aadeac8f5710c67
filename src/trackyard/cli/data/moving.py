"""`trackyard data sync`: stage the nine datasets from one root to another by what their rows refer to."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from trackyard.cli.data.knowing import AsJson
from trackyard.cli.data.making import DryRun
from trackyard.cli.printing import print_json, size
from trackyard.cli.root import repository_root
from trackyard.errors import ConfigError

if TYPE_CHECKING:
    from trackyard.acquire.staging.plan import StagingPlan
    from trackyard.acquire.staging.proof import StagedReport
    from trackyard.acquire.staging.sync import SyncReport
    from trackyard.catalog.entries import Entry

AllowMissing = Annotated[list[str] | None, typer.Option(help="an entry whose absence is recorded, not an error")]


def sync(
    names: Annotated[list[str], typer.Argument(help="nine, or names of its entries")],
    from_: Annotated[Path, typer.Option("--from", help="root that holds huggingface/ and molmo/")],
    to: Annotated[Path, typer.Option("--to", help="root to copy to")],
    relocate: Annotated[str, typer.Option(help="embed images in shards, or rewrite the paths")] = "embed",
    splits: Annotated[str, typer.Option(help="needed (those that are evaluated) or all")] = "needed",
    maps: Annotated[list[str] | None, typer.Option("--map", help="OLD=NEW for paths below unknown roots")] = None,
    allow_missing: AllowMissing = None,
    streams: Annotated[int, typer.Option(help="copies at a time", min=1)] = 4,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Copy what the rows of these datasets need, and nothing else; prove it afterwards. Repeat it after any stop."""
    from trackyard.acquire.staging.prove import prove_staged
    from trackyard.acquire.staging.records import Relocate
    from trackyard.acquire.staging.sync import SCHEMA, run_sync, sync_actions
    from trackyard.cli.watching import Bar
    from trackyard.launch.signals import stop_flag

    one_of(relocate, get_args(Relocate), option="--relocate")
    entries, plan = _plan(names, from_, to, splits, maps or [], allow_missing or [])
    if dry_run:
        actions = sync_actions(plan, relocate=relocate)  # type: ignore[arg-type]
        if as_json:
            print_json({"schema": SCHEMA, "dry_run": True, "actions": actions, "problems": plan.problems})
        else:
            for action in actions:
                print(f"would {action.does}: {action.source} -> {action.dest} ({size(action.bytes)})")
            _print_problems(plan.problems)
            print(f"{len(actions)} files would be written, {size(sum(action.bytes for action in actions))}")
        sys.exit(0 if plan.complete else 1)
    with stop_flag() as stopped, Bar("sync", "bytes") as bar:
        report = run_sync(
            plan,
            relocate=relocate,  # type: ignore[arg-type]
            streams=streams,
            progress=lambda name, done, total: bar.at(done, total, label=name),
            should_stop=stopped,
        )
    proof = prove_staged(entries, _roots(to), allow_missing=allow_missing or [])
    if as_json:
        print_json({"schema": SCHEMA, "dry_run": False, **report.document(), "proof": proof.document()})
    else:
        _print_sync(report)
        _print_proof(proof)
    sys.exit(0 if report.ok and proof.ok else 1)


def show_plan(
    names: Sequence[str], from_: Path, to: Path | None, *, splits: str, maps: Sequence[str], as_json: bool
) -> None:
    """`trackyard data plan nine --from A --to B`: what would move, what is missing, what does not add up."""
    from trackyard.acquire.staging.plan import SCHEMA

    _, plan = _plan(names, from_, to, splits, maps, [])
    if as_json:
        print_json({"schema": SCHEMA, **plan.document(paths=True)})
        sys.exit(0 if plan.complete else 1)
    for item in plan.items:
        stated = f", stated {size(item.stated_bytes)}" if item.stated_bytes is not None else ""
        print(
            f"{item.state:9} {item.entry:16} {item.kind:9} {item.files:>7,} files {size(item.bytes):>10} "
            f"({size(item.allocated)} allocated{stated})  {item.source}"
        )
        if item.reason:
            print(f"{'':9} {item.reason}")
    for left in plan.excluded:
        print(f"excluded  {left.path}: {left.reason}")
    totals = plan.totals
    print(f"to move: {totals.files:,} files, {size(totals.bytes)} ({size(totals.allocated)} allocated)")
    print(
        f"stated by the founding document: {size(totals.stated_bytes)}; its caches {size(totals.stated_caches)}, "
        f"those of its manual commands {size(totals.stated_manual_caches)}"
    )
    if plan.free_bytes is not None:
        inodes = "inodes not counted" if plan.free_inodes is None else f"{plan.free_inodes:,} inodes"
        print(f"free at the target: {size(plan.free_bytes)}, {inodes}")
    for sentence in plan.contradictions:
        print(f"contradiction: {sentence}")
    _print_problems(plan.problems)
    print("complete: everything the rows refer to is there, and fits" if plan.complete else "stopped: not complete")
    sys.exit(0 if plan.complete else 1)


def verify_staged(
    names: Sequence[str], at: Path, *, sample: int, every: bool, allow_missing: Sequence[str], as_json: bool
) -> None:
    """`trackyard data verify nine --at ROOT`."""
    from trackyard.acquire.staging.proof import SCHEMA
    from trackyard.acquire.staging.prove import prove_staged

    report = prove_staged(_entries(names), _roots(at), sample=sample or None, all=every, allow_missing=allow_missing)
    if as_json:
        print_json({"schema": SCHEMA, **report.document()})
    else:
        _print_proof(report)
    sys.exit(0 if report.ok else 1)


def one_of(value: str, allowed: Sequence[str], *, option: str) -> None:
    if value not in allowed:
        raise ConfigError(
            what=f"{option} {value!r}",
            why=f"it is one of {', '.join(allowed)}",
            fix=f"write {option} {allowed[0]}",
        )


def _entries(names: Sequence[str]) -> tuple[Entry, ...]:
    from trackyard.catalog.entries import load_catalogue
    from trackyard.catalog.selection import closure, select

    catalogue = load_catalogue(repository_root() / "catalog")
    return closure(catalogue, select(catalogue, names))


def _roots(path: Path) -> Any:
    from trackyard.acquire.staging.roots import Roots

    return Roots.below(path)


def _plan(
    names: Sequence[str], from_: Path, to: Path | None, splits: str, maps: Sequence[str], allow_missing: Sequence[str]
) -> tuple[tuple[Entry, ...], StagingPlan]:
    from trackyard.acquire.staging.plan import plan_staging

    one_of(splits, ("needed", "all"), option="--splits")
    entries = _entries(names)
    return entries, plan_staging(
        entries,
        _roots(from_),
        None if to is None else _roots(to),
        splits=splits,  # type: ignore[arg-type]
        maps=dict(_pair(text) for text in maps),
        allow_missing=allow_missing,
    )


def _pair(text: str) -> tuple[Path, Path]:
    old, equals, new = text.partition("=")
    if not (old and equals and new):
        raise ConfigError(
            what=f"--map {text!r}",
            why="it says where the files of a stored path are now",
            fix="write --map /old/root=/new/root",
        )
    return Path(old), Path(new)


def _print_problems(problems: Sequence[Any]) -> None:
    for problem in problems:
        print(f"problem: {problem.what}\n         {problem.fix}")


def _print_sync(report: SyncReport) -> None:
    for outcome in report.outcomes:
        print(
            f"{outcome.state:8} {outcome.entry:16} {outcome.files:>7,} files {size(outcome.bytes):>10}, "
            f"copied {outcome.copied_files:,} files {size(outcome.copied_bytes)}"
        )
        if outcome.reason:
            print(f"{'':8} {outcome.reason}")
    print(
        f"before {report.before_files:,} files {size(report.before_bytes)}, after {report.after_files:,} files "
        f"{size(report.after_bytes)}, copied {size(report.copied_bytes)}"
    )


def _print_proof(report: StagedReport) -> None:
    for proof in report.proofs:
        counts = ", ".join(f"{count:,} {name}" for name, count in proof.counts.items())
        print(f"{proof.entry:16} {proof.form:8} {proof.files:,} files, {proof.images:,} images decoded; {counts}")
        for note in proof.notes:
            print(f"{'':16} note: {note}")
    _print_problems(report.problems)
    print(
        f"{'proved' if report.ok else 'stopped'}: {report.examined:,} objects examined, {len(report.problems)} problems"
    )
