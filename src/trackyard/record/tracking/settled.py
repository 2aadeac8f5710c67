"""Whether a run has changed since everything of it was delivered, told by how its files look, without reading them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from trackyard.digest import digest_json
from trackyard.record.lineage.document import LINEAGE
from trackyard.record.rundir import RunDirectory
from trackyard.record.tracking.registry import lock_files
from trackyard.record.tracking.server import place
from trackyard.record.tracking.synced import read_synced

Look = tuple[int, int]
"""Size of a file in bytes, and when it was modified, in nanoseconds."""


def is_settled(run: RunDirectory, uri: str) -> bool:
    """Whether nothing has changed since everything was delivered to `uri`, as far as this side knows."""
    known = read_synced(run)
    if known is None or known.store != place(uri):
        return False
    base = run.path.resolve()
    files = [*spools(run), *(base / name for name in (*known.artifacts, *known.references))]
    if known.models:
        files += model_files(run.root.parent, known.models)
    return known.settled == digest_json(looks(files))


def spools(run: RunDirectory) -> list[Path]:
    """The spool files of all attempts."""
    return sorted(run.spool.glob("attempt-*.jsonl"))


def model_files(repository: Path, models: Mapping[str, str]) -> list[Path]:
    """What says whether DVC tracks the exports `models` (name -> path), and as what."""
    return [*lock_files(repository), *(repository / path / LINEAGE for path in models.values())]


def looks(paths: Iterable[Path]) -> dict[str, Look]:
    """How those of `paths` look that exist."""
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in paths if path.exists()}
