"""What the catalogue is checked against: `catalog/names`, which is read apart from the entries.

Source: molmo2 spec section 3, nine-datasets spec sections 1 and 2.
"""

from __future__ import annotations

from pathlib import Path

from trackyard.catalog.entries import Access
from trackyard.parameters import Parameters, parse_parameters, read_yaml

NAMES = Path("names")
"""Folder below the catalogue that holds both lists."""


class GroupReference(Parameters):
    """One group of the reference mixture. weight: of the release; report_percent: of all draws, as printed."""

    group: str
    weight: float
    report_percent: float | None = None
    datasets: int
    examples: int = 0


class FoundingBytes(Parameters):
    """Sums of the founding documents' sizes. union: of both stages, each dataset once."""

    stage1: int
    stage2: int
    union: int


class NineReference(Parameters):
    """Totals of the nine-dataset evaluation (nine-datasets spec sections 1 and 2)."""

    samples: int
    cache_bytes: int
    manual_cache_bytes: int
    raw_bytes: int
    total_bytes: int
    other_folders_bytes: int


class VideoTrackPrinted(Parameters):
    """The report's own figures of Molmo2-VideoTrack that are not those of its tables 13 and 21."""

    text_clips: int
    text_queries: int
    table_clips: int


class Printed(Parameters):
    """Figures that a document prints and that its own rows do not give."""

    stage2_bytes: int
    stage2_automatic: int
    stage2_by_hand: int
    nine_samples: int
    nine_cache_bytes: int
    nine_saved_bytes: int
    videotrack: VideoTrackPrinted


class Reference(Parameters):
    """`names/reference.yaml`. rate_percent: sum of the printed rates, without and with the uncounted group."""

    groups: tuple[GroupReference, ...]
    uncounted: GroupReference
    access: dict[Access, int]
    rate_percent: tuple[float, float]
    founding_bytes: FoundingBytes
    nine: NineReference
    printed: Printed


class FoundingDocument(Parameters):
    """One founding document. names: each printed name, and the entry it means."""

    title: str
    names: dict[str, str]


class FoundingNames(Parameters):
    """`names/founding.yaml`."""

    documents: dict[str, FoundingDocument]


def load_reference(directory: Path) -> Reference:
    """The reference tables of the catalogue in `directory`."""
    path = directory / NAMES / "reference.yaml"
    return parse_parameters(Reference, read_yaml(path), where=str(path))


def load_founding_names(directory: Path) -> FoundingNames:
    """The names that the founding documents print."""
    path = directory / NAMES / "founding.yaml"
    return parse_parameters(FoundingNames, read_yaml(path), where=str(path))
