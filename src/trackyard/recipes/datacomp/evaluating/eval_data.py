"""The stage that brings the evaluation items: made of the project's scenes, or from the pinned copies of the hub.

A published item is never left out silently: its number is that of the data set's card, gold answers that the scorer
would not accept stop the stage, and pictures of VSR that are gone are counted, named, and stop it where they are more
than `evaluation.most_missing` allows. Source: theworld spec sections 12.1 and 14.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from trackyard.digest import digest_file, digest_json
from trackyard.errors import DataError
from trackyard.recipes.datacomp.evaluating.hub_items import (
    Copy,
    blink_items,
    caption_items,
    copy_of,
    spatial_items,
    vsr_items,
)
from trackyard.recipes.datacomp.evaluating.items import Item, pictures_of, write_items
from trackyard.recipes.datacomp.evaluating.made_items import made_items
from trackyard.recipes.datacomp.evaluating.sets import SETS
from trackyard.recipes.datacomp.results import write_result
from trackyard.recipes.datacomp.study import MADE, Study

STAGE = "eval_data"
_VSR = {"random": "vsr-random", "zeroshot": "vsr-zeroshot"}


@dataclass(frozen=True, kw_only=True)
class _Source:
    """items: of one set, the same each time. copies: that they come from."""

    items: Callable[[], Iterator[Item]]
    copies: tuple[Copy, ...] = ()


def eval_data(study: Study, say: Callable[[str], None]) -> None:
    """Write the items of every set anew. EnvironmentLacking where a copy was not fetched, DataError as above."""
    started, parameters = time.monotonic(), study.parameters.evaluation
    folder = study.document(STAGE).parent
    if folder.exists():
        shutil.rmtree(folder)
    inputs: dict[str, str] = {}
    sets: dict[str, Any] = {}
    for name in parameters.sets:
        source = _made(study, name) if parameters.source == MADE else _published(study, name)
        path = study.items(name)
        kept = _limited(source, parameters.limit)
        count = write_items(path, kept, refuse=SETS[name].problem)
        missing = {item: cause for copy in source.copies for item, cause in copy.missing.items()}
        _require_pictures(name, missing, sum(copy.asked for copy in source.copies), parameters.most_missing)
        for copy in source.copies:
            inputs |= copy.files
        sets[name] = {
            "items": count,
            "pictures": len(pictures_of(path)),
            "digest": digest_file(path),
            "sources": {copy.repo: copy.revision for copy in source.copies},
            "missing": missing,
        }
        say(f"{name:9} {count:,} items about {sets[name]['pictures']:,} pictures; {len(missing):,} pictures are gone")
    header = study.header(STAGE, None, inputs=inputs, device="cpu", wall_s=time.monotonic() - started)
    write_result(study.document(STAGE), STAGE, header, {"source": parameters.source, "sets": sets})


def _made(study: Study, name: str) -> _Source:
    seed, count = study.parameters.data.source.seed, study.parameters.evaluation.made_items
    return _Source(items=partial(made_items, name, seed=seed, count=count))


def _published(study: Study, name: str) -> _Source:
    if name in ("vsr", "captions"):
        splits = ("random",) if name == "captions" else tuple(_VSR)
        copies = {split: copy_of(study.root, _VSR[split]) for split in splits}
        make: Callable[[Mapping[str, Copy]], Iterator[Item]] = caption_items if name == "captions" else vsr_items
        return _Source(items=partial(make, copies), copies=tuple(copies.values()))
    copy = copy_of(study.root, {"blink": "blink", "spatial": "spatialrgpt-bench"}[name])
    return _Source(items=partial(blink_items if name == "blink" else spatial_items, copy), copies=(copy,))


def _limited(source: _Source, limit: int | None) -> Iterator[Item]:
    """All items, or as many, drawn by their id: the first ones of a benchmark are all of one task."""
    if limit is None:
        return source.items()
    keys = sorted((digest_json(item.id), item.id) for item in source.items())
    wanted = {name for _, name in islice(keys, limit)}
    return (item for item in source.items() if item.id in wanted)


def _require_pictures(name: str, missing: Mapping[str, str], asked: int, most: float) -> None:
    if len(missing) > most * asked:
        first, cause = next(iter(missing.items()))
        raise DataError(
            what=f"{len(missing):,} of {asked:,} items of {name} lack their picture, {first} first ({cause})",
            why=f"at most {most:.1%} may: the rest would be another benchmark under the same name",
            fix="`trackyard data fetch vsr-random vsr-zeroshot --retry-failed`, or raise "
            "datacomp.evaluation.most_missing in params.yaml; what is missing is recorded",
        )
