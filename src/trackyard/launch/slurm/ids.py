"""Ids of jobs and of the tasks of arrays, as Slurm prints them: 12, 12_4, 12_[1-3,7%2]."""

from __future__ import annotations

import re
from collections.abc import Iterator

_ARRAY = re.compile(r"(\d+)_\[([\d,:-]+)(?:%\d+)?\]")
_RANGE = re.compile(r"(\d+)(?:-(\d+)(?::(\d+))?)?")
ONE = re.compile(r"\d+(_\d+)?")
"""A job, or a task of an array."""


def tasks_of(text: str) -> Iterator[str]:
    """Each job or task that `text` stands for; nothing where it is no id, or a list that Slurm has shortened."""
    if ONE.fullmatch(text):
        yield text
        return
    array = _ARRAY.fullmatch(text)
    if array is None:
        return
    for part in array[2].split(","):
        found = _RANGE.fullmatch(part)
        if found is None:
            continue
        first = int(found[1])
        for index in range(first, int(found[2] or first) + 1, int(found[3] or 1)):
            yield f"{array[1]}_{index}"
