"""The proof that a staged copy holds what it should: counts, digests, references, rows, and images that decode.

Source: nine-datasets spec section 3.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from trackyard.acquire.files.manifest import FileManifest
from trackyard.acquire.files.stat_cache import place_of
from trackyard.acquire.files.tree import FilesReport, Mode, verify_files
from trackyard.acquire.staging.closure import BLOCK, EntryClosure, close
from trackyard.acquire.staging.items import ItemKind, StagingItem, totals_of
from trackyard.acquire.staging.listing import list_items, reasons
from trackyard.acquire.staging.plan import check_names
from trackyard.acquire.staging.proof import EntryProof, StagedProblem, StagedReport, stage_again
from trackyard.acquire.staging.prove_images import Decoded, decode_arrow, decode_shards
from trackyard.acquire.staging.raw_folders import RawFolder, raw_folders
from trackyard.acquire.staging.records import by_root, read_record, record_folder, recorded_tables
from trackyard.acquire.staging.roots import Locator, Roots
from trackyard.acquire.staging.survey import added, agrees
from trackyard.catalog.entries import Entry
from trackyard.errors import DataError

SAMPLE = 32
"""Images decoded of each entry unless another number, or all, is asked for."""


def prove_staged(
    entries: Sequence[Entry],
    at: Roots,
    *,
    sample: int | None = None,
    all: bool = False,
    allow_missing: Collection[str] = (),
    workers: int | None = None,
) -> StagedReport:
    """Prove a selection at a target; reads only.

    entries: as for `plan_staging`. sample: images to decode of each entry. all: every image is decoded and every byte
    hashed; without it, files that look as they did when they were last proved are trusted, and `notes` say so.
    Raises ConfigError for a waiver that means nothing, EnvironmentLacking for a root that cannot be read; whatever else
    is wrong, an empty root too, is in the report.
    """
    nine = [entry for entry in entries if entry.nine is not None]
    check_names(entries, nine, allow_missing)
    at.check_readable(absent=True)
    mode: Mode = "full" if all else "fast"
    images = None if all else SAMPLE if sample is None else sample
    waived = frozenset(allow_missing)
    proofs = [_entry(entry, at, mode, images, workers) for entry in nine if entry.name not in waived]
    if any(proof.form == "rewrite" for proof in proofs):
        proofs += [_raw(raw, at, mode, workers) for raw in raw_folders(entries, at) if raw.entry not in waived]
    return StagedReport(
        selection=tuple(entry.name for entry in nine),
        at=at,
        proofs=tuple(proofs),
        totals=totals_of((one for proof in proofs for one in proof.items), nine, ()),
        waivers=tuple(sorted(waived)),
    )


def _entry(entry: Entry, at: Roots, mode: Mode, images: int | None, workers: int | None) -> EntryProof:
    proof = EntryProof(entry.name, "absent", samples=entry.nine.samples if entry.nine else 0)
    try:
        embedded, relocated = read_record(at, entry.name, "embed"), read_record(at, entry.name, "rewrite")
        if embedded is not None:
            proof.form = "embed"
            _prove_embedded(proof, entry, embedded, at, mode, images, workers)
        if relocated is not None:
            proof.form = "rewrite" if embedded is None else "embed and rewrite"
            _prove_relocated(proof, entry, relocated, at, mode, images, workers)
    except DataError as error:
        proof.problems.append(StagedProblem(entry=entry.name, what=error.what, fix=stage_again(entry.name, at)))
    if proof.form == "absent":
        _look_for(proof, entry, at)
    return proof


def _prove_embedded(
    proof: EntryProof,
    entry: Entry,
    record: FileManifest,
    at: Roots,
    mode: Mode,
    images: int | None,
    workers: int | None,
) -> None:
    folder = record_folder(at, entry.name, "embed")
    report = verify_files(folder, mode=mode, manifest=record, workers=workers)
    _take(proof, folder, report, at)
    bad = {*report.missing, *(changed.path for changed in report.changed)}
    tables = recorded_tables(record)
    split = entry.nine.split if entry.nine else ""
    evaluated = [table for table in tables if table["name"].rsplit("/", 1)[-1] == split]
    proof.counts = added(table["counts"] for table in evaluated)
    _count(proof, at)
    rows = {path: count for table in tables for path, count in table["rows"] if path not in bad}
    _decode(proof, decode_shards(folder, rows, images), at)
    proof.items.append(_item(proof, "cache", str(folder), record, folder, bool(bad)))


def _prove_relocated(
    proof: EntryProof,
    entry: Entry,
    record: FileManifest,
    at: Roots,
    mode: Mode,
    images: int | None,
    workers: int | None,
) -> None:
    _take_relocated(proof, entry.name, record, at, mode, workers)
    closed = close(entry, at, Locator(at, {}), "needed")
    proof.counts = closed.counts
    _count(proof, at)
    told = {problem.what for problem in proof.problems}
    for what in _troubles(closed):
        if what not in told:
            proof.problems.append(StagedProblem(entry=entry.name, what=what, fix=stage_again(entry.name, at)))
    _decode(proof, decode_arrow(closed, images), at)
    proof.items += list_items([closed], [], at, None, frozenset())


def _troubles(closed: EntryClosure) -> Iterator[str]:
    yield from (what for _, what in closed.problems)
    if closed.bad:
        yield f"{len(closed.bad):,} bad references: " + reasons(
            [f"{reference.stored}: {reference.kind}, {reference.why}" for reference in closed.bad]
        )


def _raw(raw: RawFolder, at: Roots, mode: Mode, workers: int | None) -> EntryProof:
    """A raw folder beside relocated entries. Where its record is absent, it was not there at the source either."""
    proof = EntryProof(raw.entry, "rewrite")
    record = read_record(at, raw.entry, "rewrite")
    if record is None:
        proof.notes.append(f"no record of {raw.folder}: it was not staged, and rows find their images elsewhere")
        return proof
    _take_relocated(proof, raw.entry, record, at, mode, workers)
    stated = raw.media.expected.visual.value if raw.media else None
    proof.counts, proof.samples = {"images": len(raw.files)}, stated or 0
    if stated is not None and len(raw.files) != stated:
        what = f"{raw.folder} has {len(raw.files):,} images, {stated:,} are stated"
        proof.problems.append(StagedProblem(entry=raw.entry, what=what, fix=stage_again(raw.needed_by[0], at)))
    proof.items.append(_item(proof, "raw", str(raw.folder), record, at.molmo, bool(proof.problems)))
    return proof


def _take_relocated(
    proof: EntryProof, name: str, record: FileManifest, at: Roots, mode: Mode, workers: int | None
) -> None:
    """Verify the files of a relocated record, root by root."""
    for root, part in by_root(at, record).items():
        report = verify_files(
            root,
            mode=mode,
            manifest=part,
            workers=workers,
            ignore=lambda _: True,  # a root holds other things too: what is extra there says nothing
            cache=place_of(record_folder(at, name, "rewrite") / root.name),
        )
        _take(proof, root, report, at)


def _take(proof: EntryProof, folder: Path, report: FilesReport, at: Roots) -> None:
    """Add what a verification of files saw."""
    proof.files += report.examined
    proof.bytes += report.bytes
    proof.notes += report.notes
    again = stage_again(proof.entry, at)
    for path in report.missing:
        proof.problems.append(StagedProblem(entry=proof.entry, what=f"{folder / path} is missing", fix=again))
    for changed in report.changed:
        bad = folder / changed.path
        what = f"{bad}: {changed.found}, expected {changed.expected}"
        proof.problems.append(StagedProblem(entry=proof.entry, what=what, fix=f"rm {bad} && {again}"))
    for extra in report.extra:
        what = f"{folder / extra} is in no record"
        proof.problems.append(StagedProblem(entry=proof.entry, what=what, fix=f"rm {folder / extra}"))


def _count(proof: EntryProof, at: Roots) -> None:
    if not agrees(proof.counts, proof.samples):
        told = ", ".join(f"{count:,} {name}" for name, count in proof.counts.items()) or "no rows"
        what = f"{proof.entry} has {told}; {proof.samples:,} samples are stated"
        proof.problems.append(StagedProblem(entry=proof.entry, what=what, fix=stage_again(proof.entry, at)))


def _decode(proof: EntryProof, decoded: Decoded, at: Roots) -> None:
    proof.images += decoded.images
    for what in decoded.problems:
        # Its digest is that of the source: it was bad there.
        folder = record_folder(at, proof.entry, "embed" if proof.form != "rewrite" else "rewrite")
        fix = f"bring the image again at the source, then rm -r {folder} && {stage_again(proof.entry, at)}"
        proof.problems.append(StagedProblem(entry=proof.entry, what=what, fix=fix))
    if not decoded.images and not decoded.problems:
        what = f"no image of {proof.entry} was decoded"
        proof.problems.append(StagedProblem(entry=proof.entry, what=what, fix=stage_again(proof.entry, at)))


def _look_for(proof: EntryProof, entry: Entry, at: Roots) -> None:
    """Say what is there of an entry that no record speaks of. Without digests of its source nothing is proved."""
    closed = close(entry, at, Locator(at, {}), "needed")
    again = stage_again(entry.name, at)
    what = f"no record of {entry.name} below {at.molmo}: it was never staged there, or not to its end"
    proof.problems.append(StagedProblem(entry=entry.name, what=what, fix=again))
    proof.problems += [StagedProblem(entry=entry.name, what=text, fix=again) for text in _troubles(closed)]
    proof.items += list_items([closed], [], at, None, frozenset())


def _item(
    proof: EntryProof, kind: ItemKind, dest: str, record: FileManifest, folder: Path, partial: bool
) -> StagingItem:
    allocated = 0
    for file in record.files:
        path = folder / file.path
        allocated += path.stat().st_blocks * BLOCK if path.is_file() else 0
    return StagingItem(
        entry=proof.entry,
        kind=kind,
        source=str(record.source["from"]),
        dest=dest,
        files=len(record.files),
        bytes=sum(file.bytes for file in record.files),
        allocated=allocated,
        stated_bytes=None,
        state="partial" if partial else "present",
        reason=reasons([problem.what for problem in proof.problems]),
    )
