"""Choosing entries: by selection, by name or by alias, and with everything that they need on disk."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence

from trackyard.catalog.entries import Entry, Stage
from trackyard.errors import ConfigError

SELECTIONS = ("stage1", "stage2", "stage3", "pile", "datacomp", "nine", "all")
"""stage1 to stage3: what the Molmo2 stage trains on; pile, datacomp, nine: what that track uses; all: their union."""


def select(catalogue: Mapping[str, Entry], names: Sequence[str]) -> tuple[Entry, ...]:
    """Entries of selections, names and aliases, each once, in the catalogue's order; ConfigError: unknown name."""
    wanted: set[str] = set()
    for name in names:
        if name in SELECTIONS:
            wanted |= {entry.name for entry in catalogue.values() if _holds(name, entry)}
        else:
            wanted.add(find(catalogue, name).name)
    return _ordered(catalogue, wanted)


def find(catalogue: Mapping[str, Entry], name: str) -> Entry:
    """The entry of a name or an alias; ConfigError with the nearest name otherwise."""
    if name in catalogue:
        return catalogue[name]
    aliases = {alias: entry for entry in catalogue.values() for alias in entry.aliases}
    if name in aliases:
        return aliases[name]
    near = difflib.get_close_matches(name, (*catalogue, *aliases, *SELECTIONS), n=1, cutoff=0.5)
    raise ConfigError(
        what=f"no dataset {name!r} in the catalogue" + (f"; did you mean {near[0]!r}?" if near else ""),
        why="a name that is passed over would leave its data out without a word",
        fix=f"`trackyard data list` prints every name; the selections are {', '.join(SELECTIONS)}",
    )


def closure(catalogue: Mapping[str, Entry], entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """The entries and all that they need on disk, and what that needs, in the catalogue's order."""
    wanted: set[str] = set()
    open_names = [entry.name for entry in entries]
    while open_names:
        name = open_names.pop()
        if name not in wanted:
            wanted.add(name)
            open_names += catalogue[name].needs
    return _ordered(catalogue, wanted)


def founding(catalogue: Mapping[str, Entry], stage: Stage | None = None) -> tuple[Entry, ...]:
    """What the founding documents list for a Molmo2 stage, None: for any. Their sizes are totalled over these."""
    return tuple(
        entry
        for entry in catalogue.values()
        if (entry.founding_stages if stage is None else stage in entry.founding_stages)
    )


def _holds(selection: str, entry: Entry) -> bool:
    if selection == "all":
        return bool(entry.stages or entry.tracks)
    if selection.startswith("stage"):
        return int(selection.removeprefix("stage")) in entry.stages
    return selection in entry.tracks


def _ordered(catalogue: Mapping[str, Entry], names: set[str]) -> tuple[Entry, ...]:
    return tuple(entry for name, entry in catalogue.items() if name in names)
