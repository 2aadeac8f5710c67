"""Where the sources contradict each other or themselves: one sentence for each, with both figures.

Every figure is a sum over entries or what a document prints (`catalog/names/reference.yaml`); nothing is corrected
silently. Source: nine-datasets spec section 2, molmo2 spec section 18.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping

from trackyard.catalog.entries import Entry
from trackyard.catalog.reference import FoundingNames, Reference
from trackyard.catalog.selection import founding
from trackyard.catalog.totals import FoundingTotals, NineTotals, nine_images

VIDEOTRACK = "molmo2-videotrack"
NINE_DOCUMENT = "000"

COUNT = re.compile(r"(\d+(?:\.\d+)?)([kM])")
ROUNDING = 0.1
"""Printed counts are rounded to one or two digits: below this relative difference they agree."""


def contradictions(
    catalogue: Mapping[str, Entry],
    reference: Reference,
    names: FoundingNames,
    totals: FoundingTotals,
    nine: NineTotals,
) -> tuple[str, ...]:
    """All that are known, the totals first."""
    return (
        *_totals(reference, totals, nine),
        *_raw_images(catalogue, names),
        *_access(catalogue, reference),
        *_sizes(catalogue),
        *_counts(catalogue),
        *_videotrack(catalogue, reference),
    )


def _totals(reference: Reference, totals: FoundingTotals, nine: NineTotals) -> Iterator[str]:
    printed = reference.printed
    if totals.stage2_bytes != printed.stage2_bytes:
        yield (
            f"The founding documents print ~{size(printed.stage2_bytes)} for stage 2; the sizes of their own list "
            f"add up to {size(totals.stage2_bytes)}."
        )
    if nine.cache_bytes != printed.nine_cache_bytes:
        yield (
            f"The founding document prints ~{size(printed.nine_cache_bytes)} for the caches of the nine datasets; its "
            f"{nine.caches} caches add up to {size(nine.cache_bytes)}, and {size(nine.manual_cache_bytes)} is the sum "
            f"of the {nine.manual_caches} that its manual commands copy."
        )
    if nine.samples != printed.nine_samples:
        yield (
            f"The code behind the nine datasets prints {printed.nine_samples:,} samples; its own table adds up to "
            f"{nine.samples:,}."
        )


def _raw_images(catalogue: Mapping[str, Entry], names: FoundingNames) -> Iterator[str]:
    for images in nine_images(catalogue):
        blocks = [entry for entry in images if entry.founding.block_bytes is not None]
        if not blocks:
            continue
        stated = sum(entry.founding_bytes or 0 for entry in blocks)
        public = sum(entry.expected.bytes.value or 0 for entry in blocks)
        files = sum(entry.expected.files.value or 0 for entry in blocks)
        block = max(entry.founding.block_bytes or 0 for entry in blocks)
        taken = sum((entry.expected.files.value or 0) * (entry.founding.block_bytes or 0) for entry in blocks)
        yield (
            f"The founding document states {size(stated)} for {_listed(blocks)}; public figures give {size(public)}. "
            f"{files:,} files in blocks of {block // 1024} KiB take {size(taken)}: the figure is nearer to what "
            f"they occupy on one file system than to what must be moved."
        )
    document = names.documents.get(NINE_DOCUMENT)
    named = set(document.names.values()) if document else set()
    for entry in nine_images(catalogue)[0]:
        if entry.name not in named:
            yield (
                f"The founding document of the nine datasets does not name {entry.name} "
                f"({size(entry.expected.bytes.value)}), which rows of {_listed(_needing(catalogue, entry))} point to."
            )


def _needing(catalogue: Mapping[str, Entry], needed: Entry) -> list[Entry]:
    return [entry for entry in catalogue.values() if needed.name in entry.needs and entry.nine is not None]


def _access(catalogue: Mapping[str, Entry], reference: Reference) -> Iterator[str]:
    listed = founding(catalogue, 2)
    access = Counter(entry.access for entry in listed)
    automatic, by_hand = access["auto"] + access["url"], access["mixed"] + access["manual"]
    printed = reference.printed
    if (automatic, by_hand) != (printed.stage2_automatic, printed.stage2_by_hand):
        yield (
            f"The founding documents call {printed.stage2_automatic} of their stage-2 sets automatic and name "
            f"{printed.stage2_by_hand} to be fetched by hand; of the {len(listed)} in their list {access['auto']} come "
            f"by themselves, {access['url']} by URL, {by_hand} need a person and {access['none']} cannot be had."
        )


def _sizes(catalogue: Mapping[str, Entry]) -> Iterator[str]:
    for entry in catalogue.values():
        known = entry.expected.bytes
        if entry.founding.bytes is None or entry.founding.block_bytes is not None or known.value is None:
            continue
        if known.value != entry.founding.bytes:
            yield (
                f"The founding documents state {size(entry.founding.bytes)} for {entry.name}; what is fetched is "
                f"{size(known.value)} ({known.basis}: {known.source})."
            )


def _counts(catalogue: Mapping[str, Entry]) -> Iterator[str]:
    for entry in catalogue.values():
        printed = printed_count(entry.founding.examples)
        expected = entry.expected
        figures = {
            "examples": expected.examples.value,
            "visual inputs": expected.visual.value,
            "annotations": expected.annotations.value,
        }
        known = {what: value for what, value in figures.items() if value}
        if printed is None or not known:
            continue
        if all(abs(printed - value) > ROUNDING * value for value in known.values()):
            told = ", ".join(f"{value:,} {what}" for what, value in known.items())
            yield f'The founding documents print "{entry.founding.examples}" for {entry.name}; the report has {told}.'


def _videotrack(catalogue: Mapping[str, Entry], reference: Reference) -> Iterator[str]:
    if VIDEOTRACK not in catalogue:
        return
    entry = catalogue[VIDEOTRACK]
    sources = [item for item in catalogue.values() if "source" in item.roles]
    clips = sum(item.expected.visual.value or 0 for item in sources)
    queries = sum(item.expected.examples.value or 0 for item in sources)
    printed = reference.printed.videotrack
    yield (
        f"The report gives {printed.text_clips:,} clips and {printed.text_queries:,} queries for {VIDEOTRACK} in its "
        f"text and {printed.table_clips:,} clips in a table; the {len(sources)} sources of Table 21 add up to "
        f"{clips:,} clips and {queries:,} queries, and Table 13 counts {entry.expected.visual.value or 0:,} clips and "
        f"{entry.expected.examples.value or 0:,} examples."
    )


def printed_count(text: str) -> int | None:
    """800k or 1M as a number; None for anything that says more than that."""
    match = COUNT.fullmatch(text)
    return round(float(match[1]) * {"k": 10**3, "M": 10**6}[match[2]]) if match else None


def size(count: int | None) -> str:
    """Bytes in decimal units with the digits they need: 38.474 GB, 292 MB."""
    if count is None:
        return "unknown size"
    unit, factor = ("GB", 10**9) if count >= 10**9 else ("MB", 10**6)
    return f"{count / factor:,.3f}".rstrip("0").rstrip(".") + f" {unit}"


def _listed(entries: list[Entry]) -> str:
    return " and ".join(entry.name for entry in entries)
