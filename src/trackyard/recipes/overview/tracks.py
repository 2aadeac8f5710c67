"""The tracks of the report, in its order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trackyard.errors import ConfigError, DataError
from trackyard.recipes.datacomp.study import TRACK as DATACOMP
from trackyard.recipes.overview import datacomp, molmo2, nine, pile_ffn
from trackyard.recipes.overview.track import TrackReport
from trackyard.recipes.pile_ffn.study import TRACK as PILE_FFN


@dataclass(frozen=True, slots=True)
class Reader:
    """there: whether anything of the track can be shown. absent: what its whole report lacks, and what makes it."""

    there: Callable[[Path], bool]
    absent: Callable[[Path], tuple[str, str] | None]
    gather: Callable[[Path], TrackReport]


READERS: Mapping[str, Reader] = {
    molmo2.TRACK: Reader(molmo2.there, molmo2.absent, molmo2.gather),
    nine.TRACK: Reader(nine.there, nine.absent, nine.gather),
    PILE_FFN: Reader(pile_ffn.there, pile_ffn.absent, pile_ffn.gather),
    DATACOMP: Reader(datacomp.there, datacomp.absent, datacomp.gather),
}
ALL = tuple(READERS)


def require(root: Path, tracks: Sequence[str]) -> None:
    """ConfigError for a name that is no track, DataError for one whose results are not all there."""
    for track in tracks:
        if track not in READERS:
            raise ConfigError(what=f"no track {track!r}", why=f"there are {', '.join(ALL)}", fix="trackyard report")
        lacking = READERS[track].absent(root)
        if lacking is not None:
            what, fix = lacking
            raise DataError(
                what=f"the results of {what} are not in {root / 'artifacts'}",
                why="a report of all tracks that lacks one would look complete",
                fix=f"{fix}   (or, for what is there: trackyard report)",
            )


def present(root: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """Tracks of which something can be shown, and what is not there yet, with the command that makes it."""
    there = [track for track, reader in READERS.items() if reader.there(root)]
    lacking = [found for reader in READERS.values() for found in [reader.absent(root)] if found is not None]
    return there, lacking
