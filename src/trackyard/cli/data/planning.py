"""`trackyard data plan`: bytes, files and inodes beforehand, and the best subset for a limited disk."""

from __future__ import annotations

import sys
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trackyard.cli.data.knowing import AsJson, Selection
from trackyard.cli.printing import print_json, size
from trackyard.cli.root import repository_root
from trackyard.errors import ConfigError

if TYPE_CHECKING:
    from trackyard.acquire.budget import Chosen
    from trackyard.acquire.places import Places
    from trackyard.acquire.space import Part, SpacePlan
    from trackyard.catalog.entries import Entry, Medium
    from trackyard.plan.mixture import Mixture, MixtureParameters

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "K": 10**3, "M": 10**6}
REFERENCE = Path("profiles/report.yaml")
"""Holds the mixture against which a choice is judged."""


def amount(text: str, *, option: str) -> int:
    """500GB or 1M as a whole number; ConfigError for anything else."""
    number = text.rstrip("KMGTBkmgtb ")
    unit = text[len(number) :].strip().upper()
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if unit not in UNITS or not 0 <= value < inf:
        raise ConfigError(
            what=f"{option} {text!r} is not an amount",
            why="a limit that is misread gives a selection that does not fit",
            fix=f"write it as {option} 500GB, {option} 1.5TB or, for files, {option} 1M",
        )
    return int(value * UNITS[unit])


def plan(
    selection: Selection = None,
    stage: Annotated[str | None, typer.Option(help="1, 2, 3 or all: the same as naming the stages")] = None,
    budget: Annotated[str | None, typer.Option(help="disk for it, for example 500GB: choose the best subset")] = None,
    max_files: Annotated[str | None, typer.Option(help="files for it, for example 1M")] = None,
    snapshot: Annotated[str, typer.Option(help="name of the snapshot below data/")] = "molmo2",
    from_: Annotated[Path | None, typer.Option("--from", help="root of the nine datasets that is there")] = None,
    to: Annotated[Path | None, typer.Option("--to", help="root that they would be staged to")] = None,
    splits: Annotated[str, typer.Option(help="of the nine datasets: needed or all")] = "needed",
    maps: Annotated[list[str] | None, typer.Option("--map", help="OLD=NEW for paths below unknown roots")] = None,
    as_json: AsJson = False,
) -> None:
    """Space for a selection, place by place; with --budget the best part of it; with --from the staging of the nine."""
    if from_ is not None:
        from trackyard.cli.data.moving import show_plan

        show_plan(selection or ["nine"], from_, to, splits=splits, maps=maps or [], as_json=as_json)
        return
    from trackyard.acquire.places import Places
    from trackyard.acquire.space import bytes_per_visual, plan_space
    from trackyard.catalog.check import check_catalogue
    from trackyard.catalog.entries import load_catalogue
    from trackyard.catalog.selection import closure, select

    root = repository_root()
    catalogue = load_catalogue(root / "catalog")
    wanted = _wanted(selection, stage)
    asked = select(catalogue, wanted)
    entries = closure(catalogue, asked)
    typical = bytes_per_visual(catalogue.values())
    places = Places.of(root)
    chosen: Chosen | None = None
    mixture: Mixture | None = None
    unknown: tuple[str, ...] = ()
    if budget is not None or max_files is not None:
        reference = _reference(root)
        rates = _by_entry(_mixture(reference, catalogue, None), catalogue)
        chosen, unknown = _choose(asked, catalogue, typical, rates, budget, max_files)
        entries = closure(catalogue, [catalogue[name] for name in chosen.names])
        if set(chosen.names) & set(rates):
            mixture = _mixture(reference, catalogue, set(chosen.names))
    present = _present(entries, places, places.data / snapshot)
    found = plan_space(entries, typical, places, present=present)
    report = check_catalogue(root / "catalog")
    if as_json:
        print_json(
            {
                "schema": "trackyard-space-plan/1",
                "selection": wanted,
                "entries": [entry.name for entry in entries],
                "needs": found.needs,
                "totals": found.totals,
                "stated": _stated(entries),
                "founding": report.founding,
                "nine": report.nine,
                "contradictions": report.contradictions,
                "problems": found.problems,
                "chosen": chosen,
                "unknown_size": unknown,
                "mixture": None if mixture is None else _mixture_document(mixture),
            }
        )
    else:
        _print(entries, found, chosen, unknown, mixture, report.contradictions)
    # A budget stands for another disk than the one that this machine has.
    if found.problems and chosen is None:
        sys.exit(1)


def _wanted(selection: list[str] | None, stage: str | None) -> list[str]:
    if stage is None:
        return selection or ["stage1"]
    if stage not in ("1", "2", "3", "all"):
        raise ConfigError(
            what=f"--stage {stage!r}",
            why="the Molmo2 recipe has three stages",
            fix="name 1, 2, 3 or all",
        )
    return [*(selection or []), *(["stage1", "stage2", "stage3"] if stage == "all" else [f"stage{stage}"])]


def _present(entries: tuple[Entry, ...], places: Places, snapshot: Path) -> dict[tuple[str, Part], int]:
    """Bytes that lie there already, by entry and part."""
    from trackyard.acquire.presence import cached_bytes
    from trackyard.snapshot.manifest import NAME, Manifest

    found: dict[tuple[str, Part], int] = {}
    for entry in entries:
        raw = places.raw / entry.name
        found[entry.name, "media"] = sum(path.stat().st_size for path in raw.rglob("*") if path.is_file())
        found[entry.name, "tables"] = sum(cached_bytes(source, places) for source in entry.hub)
        if (snapshot / entry.name / NAME).is_file():
            manifest = Manifest.read(snapshot / entry.name)
            found[entry.name, "snapshot"] = sum(file.bytes for file in manifest.files)
    return found


def _choose(
    asked: tuple[Entry, ...],
    catalogue: dict[str, Entry],
    typical: dict[Medium, float],
    rates: dict[str, float],
    budget: str | None,
    max_files: str | None,
) -> tuple[Chosen, tuple[str, ...]]:
    """The choice, and the names of entries whose size nobody knows, which no budget can promise to hold."""
    from trackyard.acquire.budget import Candidate, choose
    from trackyard.acquire.space import needs_of
    from trackyard.catalog.selection import closure

    names = {entry.name for entry in asked}
    candidates, unknown = [], []
    for entry in closure(catalogue, asked):
        needs = needs_of(entry, typical)
        if entry.name in names and (not needs or any(need.bytes is None for need in needs)):
            unknown.append(entry.name)
            continue
        candidates.append(
            Candidate(
                name=entry.name,
                # Entries outside the reference mixture all count the same, and less than any entry inside.
                value=rates.get(entry.name, 1e-5) if entry.name in names else 0.0,
                bytes=sum(need.bytes or 0 for need in needs),
                files=sum(need.files or 0 for need in needs),
                needs=entry.needs,
            )
        )
    chosen = choose(
        candidates,
        max_bytes=amount(budget, option="--budget") if budget is not None else sys.maxsize,
        max_files=None if max_files is None else amount(max_files, option="--max-files"),
    )
    return chosen, tuple(unknown)


def _reference(root: Path) -> MixtureParameters:
    """The mixture of the report's second stage, read without the recipe, which would import torch."""
    from trackyard.parameters import parse_parameters, read_yaml
    from trackyard.plan.mixture import MixtureParameters

    values = read_yaml(root / REFERENCE)["molmo2"]["stage2"]["mixture"]
    return parse_parameters(MixtureParameters, values, where=f"{REFERENCE}: molmo2.stage2.mixture")


def _rows(parameters: MixtureParameters, catalogue: dict[str, Entry]) -> dict[str, int]:
    """Rows of every dataset of the mixture: as published, else as the catalogue counts its examples."""
    from trackyard.catalog.selection import find

    names = [
        name
        for group in parameters.groups.values()
        for entry in group.entries
        for name in ((entry.dataset,) if isinstance(entry.dataset, str) else entry.dataset)
    ]
    # One row stands for a dataset whose size nobody states: such entries have a fixed share (spec 4.3).
    return {
        name: parameters.reference_rows.get(name) or find(catalogue, name).expected.examples.value or 1
        for name in names
    }


def _mixture(parameters: MixtureParameters, catalogue: dict[str, Entry], names: set[str] | None) -> Mixture:
    """The reference mixture, or what becomes of it with only the entries `names`."""
    from trackyard.catalog.selection import find
    from trackyard.plan.mixture import rates

    rows = _rows(parameters, catalogue)
    present = {name: count for name, count in rows.items() if names is None or find(catalogue, name).name in names}
    return rates(parameters, present, strict=names is None)


def _by_entry(mixture: Mixture, catalogue: dict[str, Entry]) -> dict[str, float]:
    """Rates by catalogue entry; an entry that is several in the mixture has their sum."""
    from trackyard.catalog.selection import find

    found: dict[str, float] = {}
    for item in mixture.entries:
        name = find(catalogue, item.dataset).name
        found[name] = found.get(name, 0.0) + item.rate
    return found


def _stated(entries: tuple[Entry, ...]) -> dict[str, int]:
    """Sums over the entries that state a size, and how many do not."""
    sizes = [entry.expected.bytes.value for entry in entries]
    known = [found for found in sizes if found is not None]
    return {
        "entries": len(entries),
        "with_size": len(known),
        "without_size": len(sizes) - len(known),
        "bytes": sum(known),
    }


def _mixture_document(mixture: Mixture) -> dict[str, Any]:
    return {"distance": mixture.distance, "missing": mixture.missing, "entries": mixture.entries}


def _print(
    entries: tuple[Entry, ...], found: SpacePlan, chosen: Chosen | None, unknown: tuple[str, ...],
    mixture: Mixture | None, contradictions: tuple[str, ...],
) -> None:  # fmt: skip
    print(f"{len(entries)} entries; bytes, files and inodes by place:")
    for total in found.totals:
        inodes = total.room.free_inodes
        estimated = total.bytes_by_basis.get("estimated", 0)
        print(f"{total.place:5} {total.path}")
        print(
            f"      {size(total.bytes)} ({size(estimated)} of it estimated) in {total.files:,} files, "
            f"{total.loose_files:,} if they lay one by one"
        )
        print(
            f"      {size(total.present_bytes)} there already; free: {size(total.room.free_bytes)}, "
            f"{'inodes not counted' if inodes is None else f'{inodes:,} inodes'}"
        )
    stated = _stated(entries)
    print(f"stated by a source: {size(stated['bytes'])} for {stated['with_size']} of {stated['entries']} entries")
    nowhere = sorted({name for total in found.totals for name in total.unknown})
    if nowhere:
        print(f"of unknown size: {', '.join(nowhere)}")
    if chosen is not None:
        print(f"chosen: {len(chosen.names)} entries, {size(chosen.bytes)}, {chosen.files:,} files")
        print(f"they hold {chosen.value:.1%} of the reference mixture")
        print(f"left out: {', '.join(chosen.left_out) or 'none'}")
        if unknown:
            print(f"left out because nobody knows their size: {', '.join(unknown)}")
    if mixture is not None:
        print(f"the mixture moves by {mixture.distance:.1%} (total variation):")
        moved = sorted(mixture.entries, key=lambda item: -abs(item.rate - item.reference_rate))
        for item in moved[:10]:
            if item.rate != item.reference_rate:
                print(f"  {item.name:32} {item.reference_rate:7.2%} -> {item.rate:7.2%}")
    names = [entry.name for entry in entries]
    here = [sentence for sentence in contradictions if any(name in sentence for name in names)]
    for sentence in here:
        print(f"contradiction: {sentence}")
    print(f"{len(contradictions) - len(here)} contradictions about other data: trackyard catalog check")
    if chosen is None:
        for problem in found.problems:
            print(f"does not fit: {problem}")
