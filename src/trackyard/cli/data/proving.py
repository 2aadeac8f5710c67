"""`trackyard data verify`: ends in proved, or names what is wrong and the command that mends exactly that."""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from trackyard.cli.data.knowing import AsJson
from trackyard.cli.printing import print_json, size
from trackyard.cli.root import repository_root
from trackyard.errors import ConfigError, DataError

if TYPE_CHECKING:
    from trackyard.acquire.files.tree import Mode
    from trackyard.catalog.entries import Entry
    from trackyard.snapshot.decoding import Decode
    from trackyard.snapshot.verify import Problem, Verified


def verify(
    targets: Annotated[
        list[str] | None, typer.Argument(help="folders with snapshots or files, or selections and names of entries")
    ] = None,
    at: Annotated[Path | None, typer.Option(help="root that the nine datasets were staged to")] = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="trust files that look as when they were last proved, and a thirtieth anew")
    ] = False,
    sample: Annotated[int, typer.Option(help="rows or images of each dataset that are decoded", min=0)] = 0,
    every: Annotated[bool, typer.Option("--all", help="decode every row or image")] = False,
    allow_missing: Annotated[list[str] | None, typer.Option(help="of the nine: an entry that may be absent")] = None,
    models: Annotated[bool, typer.Option("--models", help="a study's models and data, by its profile")] = False,
    profile: Annotated[str | None, typer.Option(help="of --models and pile: name or path")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="of --models and pile: metadata only")] = False,
    full: Annotated[
        bool, typer.Option("--full", help="of --models and pile: weights, held-out files, benchmarks")
    ] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="of --models and pile: the cache instead of the network")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Prove snapshots, fetched sets, staged sets, or the models and data of a study."""
    wanted = targets or (["pile"] if models else ["data/mini"])
    _refuse_idle(at=at, fast=fast, sample=sample, every=every, allow_missing=allow_missing)
    if at is not None:
        from trackyard.cli.data.moving import verify_staged

        verify_staged(wanted, at, sample=sample, every=every, allow_missing=allow_missing or [], as_json=as_json)
        return
    if wanted == ["pile"]:
        from trackyard.cli.data.preflight import preflight

        preflight(profile=profile, pile=targets == ["pile"], quick=quick, full=full, offline=offline, as_json=as_json)
        return
    if quick or full or offline or models or profile:
        raise ConfigError(
            what=f"--models, --profile, --quick, --full or --offline for {' '.join(wanted)}",
            why="they choose among the checks of a study's models and data",
            fix="trackyard data verify pile --quick",
        )
    folders = [Path(target) for target in wanted if "/" in target or Path(target).is_dir()]
    names = [target for target in wanted if Path(target) not in folders]
    if names and (sample or every):
        raise ConfigError(
            what=f"--sample or --all for {' '.join(names)}",
            why="what was fetched is proved by the digests of its files; rows are decoded of snapshots",
            fix=f"trackyard data verify {' '.join(names)}; or name the folder of a snapshot",
        )
    work = _entries(names)
    documents: list[Any] = []
    proved = True
    for folder in folders:
        found, ok = _folder(folder, fast=fast, decode="all" if every else sample, as_json=as_json)
        documents.append(found)
        proved &= ok
    if work:
        found, ok = _fetched(work, fast=fast, as_json=as_json)
        documents.append(found)
        proved &= ok
    if as_json:
        print_json({"schema": "trackyard-verified/1", "proved": proved, "targets": documents})
    sys.exit(0 if proved else 1)


def _refuse_idle(*, at: Path | None, fast: bool, sample: int, every: bool, allow_missing: list[str] | None) -> None:
    """ConfigError for options that would change nothing: who gives them believes that something else was proved."""
    idle = ""
    if allow_missing and at is None:
        idle = "--allow-missing without --at"
    elif fast and at is not None:
        idle = "--fast with --at"
    elif sample and every:
        idle = "--sample and --all together"
    if idle:
        raise ConfigError(
            what=idle,
            why="it would change nothing of what is proved",
            fix="run the same command without it, or see trackyard data verify --help",
        )


def _folder(folder: Path, *, fast: bool, decode: Decode, as_json: bool) -> tuple[dict[str, Any], bool]:
    """A snapshot, one dataset of it, or any folder with a file manifest: what is known of it, and whether it is right.

    A folder that cannot be examined at all is told like any other damage, and keeps no other from being looked at.
    """
    from trackyard.acquire.files.manifest import NAME as FILES

    mode: Mode = "fast" if fast else "full"
    try:
        if (folder / FILES).is_file():
            found, lines, ok = _files(folder, mode)
        else:
            found, lines, ok = _snapshot(folder, mode, decode)
    except DataError as error:
        found = {"folder": folder, "examined": 0, "problems": [{"what": error.what, "repair": error.fix}]}
        lines, ok = (
            [f"wrong   {error.what}", f"        {error.fix}", f"stopped: {folder}: zero objects examined"],
            False,
        )
    if not as_json:
        for line in lines:
            print(line)
    return found, ok


def _files(folder: Path, mode: Mode) -> tuple[dict[str, Any], list[str], bool]:
    """(document, lines, right) of any folder with a file manifest."""
    from trackyard.acquire.files.tree import verify_files
    from trackyard.cli.watching import Bar

    with Bar(str(folder), "bytes") as bar:
        found = verify_files(folder, mode=mode, progress=lambda _, done: bar.at(done))
    lines = [f"wrong   {line}" for line in found.problems()] + [f"note    {note}" for note in found.notes]
    lines.append(f"{'proved' if found.ok else 'stopped'}: {found.examined:,} files, {found.bytes:,} bytes")
    document = {"folder": folder, "examined": found.examined, "files": found, "problems": found.problems()}
    return document, lines, found.ok


def _snapshot(folder: Path, mode: Mode, decode: Decode) -> tuple[dict[str, Any], list[str], bool]:
    """(document, lines, right) of a snapshot or of one dataset of it."""
    from trackyard.cli.watching import Bar
    from trackyard.snapshot.examination import Examination, examine
    from trackyard.snapshot.manifest import NAME
    from trackyard.snapshot.verify import verify_snapshot

    datasets: tuple[Verified, ...]
    problems: tuple[Problem, ...]
    with Bar(str(folder), "bytes") as bar:

        def watch(name: str, unit: Literal["bytes", "rows"], done: int, total: int) -> None:
            bar.at(done, total, label=name, unit=unit)

        if (folder / NAME).is_file():
            verified, wrong = examine(folder, Examination(mode=mode, decode=decode, progress=watch))
            datasets, problems, examined = () if wrong else (verified,), tuple(wrong), 1
        else:
            report = verify_snapshot(folder, mode=mode, decode=decode, progress=watch)
            datasets, problems, examined = report.datasets, report.problems, report.examined
    ok = examined > 0 and not problems
    lines = [f"wrong   {problem.what}\n        {problem.repair}" for problem in problems]
    lines += [f"note    {note}" for note in dict.fromkeys(note for item in datasets for note in item.notes)]
    decoded = sum(item.decoded for item in datasets)
    lines.append(
        f"{'proved' if ok else 'stopped'}: {len(datasets)} datasets, {sum(item.files for item in datasets)} files, "
        f"{sum(item.rows for item in datasets):,} rows, {sum(item.bytes for item in datasets):,} bytes"
        + (f", {decoded:,} rows decoded" if decoded else "")
        + (f"; {len(problems)} problems" if problems else "")
    )
    return {"folder": folder, "examined": examined, "datasets": datasets, "problems": problems}, lines, ok


def _entries(names: list[str]) -> tuple[Entry, ...]:
    from trackyard.catalog.entries import load_catalogue
    from trackyard.catalog.selection import closure, select

    if not names:
        return ()
    catalogue = load_catalogue(repository_root() / "catalog")
    return closure(catalogue, select(catalogue, names))


def _fetched(entries: tuple[Entry, ...], *, fast: bool, as_json: bool) -> tuple[dict[str, Any], bool]:
    """What `fetch` brought for entries: hub copies by their digests, raw folders and images by their manifests."""
    from trackyard.acquire.fetched_proof import Proof, prove
    from trackyard.acquire.places import Places
    from trackyard.cli.watching import Bar

    places = Places.of(repository_root())
    proofs: list[Proof] = []
    for entry in entries:
        with Bar(entry.name, "files") as bar:
            proofs += prove(entry, places, full=not fast, watch=bar.at)
    examined = sum(proof.examined for proof in proofs)
    problems = [problem for proof in proofs for problem in proof.problems]
    ok = examined > 0 and not problems
    if not as_json:
        for proof in proofs:
            state = "proved" if proof.ok else "wrong"
            print(f"{state:7} {proof.entry:28} {proof.what}: {proof.examined:,} objects examined")
            for repair, alike in groupby(proof.problems, key=lambda problem: problem.repair):
                for problem in alike:
                    print(f"        {problem.what}")
                print(f"        mend it: {repair}")
        size_of = size(sum(proof.bytes for proof in proofs))
        print(
            f"{'proved' if ok else 'stopped'}: {len(entries)} entries, {examined:,} objects examined, {size_of}, "
            f"{len(problems)} problems"
        )
    return {"entries": [entry.name for entry in entries], "examined": examined, "proofs": proofs}, ok
