"""Samples of runs, whatever their tracks. What a track needs for it is imported when a run of it is compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from trackyard.recipes.comparison.samples import Samples
from trackyard.record.comparing.summary import RunSummary


def stored_samples(runs: Sequence[RunSummary], root: Path) -> list[Samples]:
    """What is stored of each run, in order. root: of the repository with artifacts/. DataError as the tracks."""
    readers = {track: _reader(track, root) for track in {run.track for run in runs}}
    return [readers[run.track](run) for run in runs]


def _reader(track: str, root: Path) -> Callable[[RunSummary], Samples]:
    if track == "pile_ffn":
        from trackyard.recipes.comparison.pile_ffn_samples import pile_ffn_samples

        return lambda run: pile_ffn_samples(run, root)
    if track == "datacomp":
        from trackyard.recipes.comparison.datacomp_samples import datacomp_samples

        return lambda run: datacomp_samples(run, root)
    if track == "nine":
        from trackyard.recipes.comparison.nine_samples import NineAnswers

        return NineAnswers(root).of
    if track == "molmo2":
        from trackyard.recipes.comparison.molmo2_samples import molmo2_samples

        return molmo2_samples
    return lambda run: Samples(lacks=(f"nothing is known of samples of the track {run.track}",))
