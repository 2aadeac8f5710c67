"""metrics.json of every track: numbers by label and by the names of `record.metric_names`, as `dvc metrics` reads them.

A name's "/" are levels of the document: test/ppl of baseline-42 is {"baseline-42": {"test": {"ppl": ...}}}, which
`dvc metrics diff` shows as baseline-42.test.ppl. A label is a stage, a cell, an arm or a whole study.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trackyard.durable import write_atomic
from trackyard.errors import ConfigError, DataError
from trackyard.record.metric_names import family

FILE = "metrics.json"


def write_metrics(path: Path, metrics: Mapping[str, Mapping[str, float]]) -> None:
    """Write metrics by label and name, sorted, whole or not at all.

    ConfigError for a name of no family, or one that continues another; DataError for a value that is no finite number.
    """
    body = {label: _nested(label, metrics[label]) for label in sorted(metrics)}
    write_atomic(path, json.dumps(body, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_metrics(path: Path) -> dict[str, dict[str, float]]:
    """What `write_metrics` wrote. DataError for anything else, ConfigError for a name of no family."""
    fix = f"make it again: dvc repro, of the stage whose output {path} is"
    try:
        body: Any = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(what=f"{path} does not exist", why="it holds the metrics", fix=fix) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(what=f"{path} is not valid JSON: {error}", why="it holds the metrics", fix=fix) from error
    if not isinstance(body, dict) or not all(isinstance(of_label, dict) for of_label in body.values()):
        raise DataError(
            what=f"{path} does not hold a mapping of names for every label",
            why="it is of another schema than metrics of today are, and its numbers would be misread",
            fix=fix,
        )
    return {label: _flat(path, label, of_label, fix) for label, of_label in body.items()}


def _nested(label: str, values: Mapping[str, float]) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for name in sorted(values):
        value = values[name]
        if not _is_number(value):
            raise DataError(
                what=f"{name} of {label} is {value!r}",
                why="no difference to it can be shown, and JSON has no such number",
                fix="see in the run's log.txt where it left the finite numbers; leave out what was not measured",
            )
        family(name)
        *levels, last = name.split("/")
        place = body
        for level in levels:
            place = place.setdefault(level, {})
            if not isinstance(place, dict):
                raise _continued(name, label)
        if last in place:
            raise _continued(name, label)
        place[last] = value
    return body


def _continued(name: str, label: str) -> ConfigError:
    return ConfigError(
        what=f"{name} of {label}: a part of this name is the whole name of another metric",
        why="in metrics.json one place cannot hold both a number and more names",
        fix="rename one of the two",
    )


def _flat(path: Path, label: str, body: Mapping[str, Any], fix: str) -> dict[str, float]:
    found = {}
    for name, value in _leaves(body, ""):
        if not _is_number(value):
            raise DataError(what=f"{path}: {name} of {label} is {value!r}", why="metrics are finite numbers", fix=fix)
        family(name)
        found[name] = float(value)
    return found


def _leaves(body: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in body.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
