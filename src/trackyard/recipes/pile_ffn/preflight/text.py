"""The training text: its files, first records of each split, the held-out documents. Source: pile-ffn spec 5, 12."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trackyard.acquire.hub.fetch import read_record
from trackyard.acquire.hub.files import Listing
from trackyard.errors import DataError
from trackyard.launch.preflight import Seen
from trackyard.recipes.pile_ffn.preflight.hub import Asked
from trackyard.recipes.pile_ffn.text.streaming import first_records


def text(asked: Asked) -> Seen:
    """The revision and its files; then records of each split, streamed; then every held-out document."""
    parameters, source = asked.parameters, asked.text
    files = tuple(parameters.splits.values())
    held_out = tuple(file for split, file in parameters.splits.items() if split != "train")
    if asked.offline:
        return asked.cached(source, "dataset", held_out)
    listing = asked.listing(source, "dataset")
    names = {file.path: file.bytes for file in listing.files}
    train = [name for name in names if name.startswith("train/") and name.endswith(".jsonl.zst")]
    absent = [name for name in files if not names.get(name)]
    if absent or len(train) != parameters.train_files:
        raise DataError(
            what=f"{listing.repo}: {len(train)} training files, expected {parameters.train_files}; "
            f"absent or empty: {', '.join(absent) or 'none'}",
            why="splits and slices of the study are made of these files",
            fix="check the pinned revision of the entry in catalog/pile.yaml",
        )
    detail = f"{listing.repo} at {listing.commit[:12]}, {len(train)} training files"
    fetched = examined = 0
    if asked.reaches("default"):
        for name in files:
            fetched += _stream(asked, listing, name)
            examined += parameters.records
        detail += f", {examined:,} records read"
    if asked.reaches("full"):
        fetched += asked.fetch(source, "dataset", held_out)
        detail += f", {_documents(asked, held_out):,} held-out documents"
    return Seen(detail=detail, examined=len(listing.files) + examined, fetched=fetched)


def _stream(asked: Asked, listing: Listing, name: str) -> int:
    """Bytes received for the first records of a file, each checked."""
    from huggingface_hub import hf_hub_url

    url = hf_hub_url(listing.repo, name, repo_type="dataset", revision=listing.commit, endpoint=asked.address)
    streamed = first_records(url, asked.parameters.records, what=f"{listing.repo}/{name}")
    for number, record in enumerate(streamed.records, start=1):
        problem = _record_problem(record)
        if problem:
            raise DataError(
                what=f"{listing.repo}/{name}, record {number}: {problem}",
                why="documents are taken from `text` and told apart by `meta.pile_set_name`",
                fix="check the entry in catalog/pile.yaml: another revision may have other fields",
            )
    return streamed.fetched


def _documents(asked: Asked, held_out: Sequence[str]) -> int:
    """Documents of the cached held-out files, each checked."""
    import json

    import zstandard

    wanted = asked.text.model_copy(update={"files": tuple(held_out)})
    directory = read_record(wanted, asked.places.hub).directory
    count = 0
    for name in held_out:
        with zstandard.open(directory / name, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                problem = _record_problem(json.loads(line))
                if problem:
                    raise DataError(
                        what=f"{name}, line {number}: {problem}",
                        why="the held-out documents decide the reported perplexity",
                        fix="check the pinned revision of the entry in catalog/pile.yaml",
                    )
                count += 1
    return count


def _record_problem(record: Any) -> str | None:
    found = record.get("text") if isinstance(record, dict) else None
    if not isinstance(found, str) or not found.strip():
        return f"`text` is {found!r}"
    meta = record.get("meta")
    name = meta.get("pile_set_name") if isinstance(meta, dict) else None
    return None if isinstance(name, str) and name else f"`meta.pile_set_name` is {name!r}"
