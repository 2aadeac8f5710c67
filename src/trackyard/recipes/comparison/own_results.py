"""Results that were measured on a run's own weights, whichever track it is of.

A result belongs to a run if it is of its cell and names the digests of the run's weights among what it read. So runs
whose results in artifacts/ were since replaced are still compared, by what is kept under runs/<track>/measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol, TypeVar

from trackyard.digest import digest_file
from trackyard.recipes.stage_results import StageResult
from trackyard.record.comparing.summary import RunSummary


class Header(Protocol):
    """What the headers of all tracks say. inputs: digest of each file that was read, by path."""

    @property
    def inputs(self) -> Mapping[str, str]: ...


H = TypeVar("H", bound=Header)


def weights_of(folder: Path) -> frozenset[str]:
    """Digests of the weights that a run left in `folder`; empty where there are none on this machine."""
    return frozenset(digest_file(path) for path in folder.glob("*.safetensors"))


def kept_results(run: RunSummary, stage: str) -> Path:
    """Where what a stage measured is kept (`trackyard.recipes.running.kept`)."""
    return run.path.parents[2] / run.track / "measured" / stage


def own_result(
    weights: frozenset[str],
    shown: Path,
    kept: Path,
    label: str,
    *,
    read: Callable[[Path], StageResult[H]],
    of_cell: Callable[[H], bool],
) -> StageResult[H] | None:
    """What is shown, if it was measured on these weights, else the newest that is kept and was. Errors as `read`.

    shown: path in artifacts/. kept: folder as of `kept_results`. label: of the cell, by which files there begin.
    """
    newest_first = sorted(kept.glob(f"{label}-*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in (shown, *newest_first) if shown.is_file() else newest_first:
        result = read(path)
        if of_cell(result.header) and weights <= set(result.header.inputs.values()):
            return result
    return None
