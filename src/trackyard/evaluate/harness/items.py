"""The items of a benchmark as they lie on this disk: a folder that `datasets` loads without asking anybody.

A copy of a hub repository is such a folder as it is, and `write_items` makes one with the same layout: a card that
says which file is which split, so that a task definition finds its configuration and its split by the same names.
Source: pile-ffn spec section 7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from trackyard.acquire.hub.record import read_record
from trackyard.catalog.entries import Entry
from trackyard.digest import canonical_json, digest_file
from trackyard.errors import ConfigError, DataError, EnvironmentLacking

CARD, ITEMS = "README.md", "items.jsonl"


@dataclass(frozen=True, kw_only=True, slots=True)
class Items:
    """dataset: id on the hub, or what made it. revision: 40 hex digits of a commit, or a digest of what was made.

    files: blake3 of every file, by a name that is the same on every machine.
    """

    dataset: str
    revision: str
    directory: Path
    files: Mapping[str, str]


def write_items(directory: Path, *, config: str, split: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write `rows` as the one split of the one configuration of a data set, below `directory`, which exists.

    The caller makes it atomic. ConfigError without rows.
    """
    if not rows:
        raise ConfigError(
            what=f"no item for {directory.name}",
            why="a score over nothing would be no score",
            fix="raise pile_ffn.benchmarks.made_items in params.yaml",
        )
    card = {"configs": [{"config_name": config, "data_files": [{"split": split, "path": ITEMS}]}]}
    (directory / ITEMS).write_bytes(b"".join(canonical_json(row) + b"\n" for row in rows))
    (directory / CARD).write_text(f"---\n{yaml.safe_dump(card)}---\n")


def fetched_items(entry: Entry, cache: Path) -> Items:
    """The copy of a catalogue entry in the hub's cache, by the commit it was fetched at; nothing is asked for.

    EnvironmentLacking if it was never fetched, or not completely.
    """
    source = entry.hub[0]
    try:
        copy = read_record(source, cache)
    except DataError as error:
        gated = f"accept the terms on the page of {source.repo} and log in, then " if source.gated else ""
        raise EnvironmentLacking(
            what=f"the items of {entry.name} are not on this machine: {error.what}",
            why="a stage that evaluates asks no hub, and a benchmark without its items has no score",
            fix=f"{gated}trackyard data fetch {entry.name}",
        ) from error
    return Items(
        dataset=copy.repo,
        revision=copy.commit,
        directory=copy.directory,
        files={
            f"hub/{copy.repo}@{copy.commit}/{file.path}": digest_file(copy.directory / file.path)
            for file in copy.contents
        },
    )
