"""Result files of the code that the nine-dataset evaluation comes from, read for comparison only.

`exp5_accuracy_results_crops2_topk4_blocks12_rank0.json`: {summary, all_samples or per_sample_latencies, config}. Files
of ranks are merged by id. Source: nine-datasets spec sections 8 and 11.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trackyard.errors import DataError

_NAME = re.compile(
    r"(?P<kind>exp5_accuracy_results|exp6_latency)_crops(?P<crops>\d+)_topk(?P<topk>\d+)_blocks(?P<blocks>\d+)"
    r"(?:_rank(?P<rank>\d+))?\.json"
)
_SAMPLES = ("all_samples", "per_sample_latencies")
_KNOBS = ("max_crops", "top_k", "num_active_blocks")
FIX = "copy the missing files from where they were measured; or leave this configuration out of the comparison"
Kind = Literal["accuracy", "latency"]
Place = tuple[Kind, int, int, int]
"""What was measured, and crops, experts and blocks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OriginResult:
    """One configuration. blocks: how many ran; which ones is not in the name. samples: as written, by their ids."""

    kind: Kind
    visual: int
    experts: int
    blocks: int
    samples: Mapping[str, Mapping[str, Any]]

    def values(self, field: str) -> list[float]:
        """A field of every sample, as `score` or `T_total_ms`. DataError if one lacks it."""
        lacking = [name for name, sample in self.samples.items() if not isinstance(sample.get(field), int | float)]
        if lacking:
            raise DataError(
                what=f"{len(lacking):,} samples without a number {field!r}, {lacking[0]} first",
                why="a mean over the others would be of another set",
                fix="compare by a field that all samples have",
            )
        return [float(sample[field]) for sample in self.samples.values()]


def read_origin(folder: Path, *, expected: int) -> list[OriginResult]:
    """Every configuration of a folder, by kind and knobs. expected: samples of the data set.

    DataError for no result file, a damaged one, a rank that is missing, an id that is there twice with other content
    (ids that each rank counted for itself), or another number of samples than `expected`.
    """
    files: dict[Place, dict[int | None, Path]] = defaultdict(dict)
    for path in sorted(folder.glob("exp*.json")):
        if named := _NAME.fullmatch(path.name):
            kind: Kind = "accuracy" if named["kind"].startswith("exp5") else "latency"
            place = (kind, int(named["crops"]), int(named["topk"]), int(named["blocks"]))
            files[place][None if named["rank"] is None else int(named["rank"])] = path
    if not files:
        raise DataError(
            what=f"{folder} holds no result file of the origin",
            why="they are called exp5_accuracy_results_crops…_topk…_blocks….json or exp6_latency_crops…",
            fix="name the folder that holds the files of one data set",
        )
    return [_merged(place, files[place], expected) for place in sorted(files)]


def _merged(place: Place, files: Mapping[int | None, Path], expected: int) -> OriginResult:
    samples: dict[str, Mapping[str, Any]] = {}
    ranks = 1
    for path in files.values():
        document = _read(path, place)
        ranks = max(ranks, document["ranks"])
        for sample in document["samples"]:
            name = str(sample["sample_id"])
            if samples.setdefault(name, sample) != sample:
                raise DataError(
                    what=f"{path}: sample {name} is there twice, with other content",
                    why="each rank counted its samples for itself, so what was measured twice cannot be told",
                    fix=FIX,
                )
    absent = [rank for rank in range(ranks) if rank not in files] if None not in files else []
    if absent or len(samples) != expected:
        where = "{} of crops {}, top-k {}, blocks {}".format(*place)
        raise DataError(
            what=f"{where}: {len(samples):,} of {expected:,} samples"
            + (f"; no file of rank {', '.join(map(str, absent))} of {ranks}" if absent else ""),
            why="one rank's part was quoted as the result of the whole before",
            fix=FIX,
        )
    kind, visual, experts, blocks = place
    return OriginResult(kind=kind, visual=visual, experts=experts, blocks=blocks, samples=samples)


def _read(path: Path, place: Place) -> dict[str, Any]:
    """A file's samples, and how many ranks there were. DataError if it is damaged, or other than its name says."""
    try:
        document = json.loads(path.read_bytes())
        config = document["config"]
        samples = next(document[name] for name in _SAMPLES if name in document)
        stated = document["summary"][0].get("num_samples", len(samples))
        ranks = int(config.get("world_size", 1))
        whole = all("sample_id" in sample for sample in samples)
        other = [name for name, value in zip(_KNOBS, place[1:], strict=True) if config.get(name, value) != value]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, StopIteration) as error:
        raise DataError(
            what=f"{path} is no result file: {type(error).__name__} {error}",
            why="it has a summary, samples and a config",
            fix=FIX,
        ) from error
    if not whole or other or stated != len(samples):
        raise DataError(
            what=f"{path}: {len(samples):,} samples where its summary says {stated}; "
            f"other than its name says: {', '.join(other) or '-'}; every sample has an id: {whole}",
            why="it is not the file that it is called, or a part of it is missing",
            fix=FIX,
        )
    return {"ranks": ranks, "samples": samples}
