"""The gate before every number: all expected samples are there, or nothing is said of any of them.

A partial view is possible on request, and everything that is made of it bears its watermark.
Source: nine-datasets spec section 9.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from trackyard.digest import short
from trackyard.errors import DataError
from trackyard.evaluate.records import Sample

NAMED = 5
"""What a message names of those that are missing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """Samples of a task under a configuration. watermark: what everything made of a partial view says, "" if whole."""

    expected: int
    ok: int
    failed: int
    watermark: str = ""


def errors(samples: Iterable[Sample]) -> dict[str, str | None]:
    """By id why there is no answer, None where there is one."""
    return {sample.id: sample.error for sample in samples}


def require_samples(
    *,
    key: str,
    task: str,
    expected: Sequence[str],
    found: Mapping[str, str | None],
    again: str,
    most_failed: int = 0,
    partial: bool = False,
) -> Tally:
    """Pass if ok + failed are the expected ids, and at most `most_failed` failed.

    found: by id why there is no answer, None where there is one. again: the command that measures what is missing.
    partial: let an incomplete set pass with a watermark. DataError names the configuration, the task and what is
    missing or failed; ids that are not expected pass in no case.
    """
    where = f"{task} under configuration {short(key)}"
    unknown = found.keys() - set(expected)
    if unknown:
        raise DataError(
            what=f"{where}: {_named(sorted(unknown))} not among the {len(expected):,} expected samples",
            why="answers to other questions would be counted",
            fix=f"move the samples of that configuration away and measure again: {again}",
        )
    missing = [name for name in expected if name not in found]
    failed = [name for name, error in found.items() if error is not None]
    short_of = f"{len(found):,} of {len(expected):,} samples ({_percent(len(found), len(expected))})"
    complete = not missing and len(failed) <= most_failed and bool(expected)
    tally = Tally(
        expected=len(expected),
        ok=len(found) - len(failed),
        failed=len(failed),
        watermark="" if complete else f"PARTIAL: {short_of}, {len(failed):,} failed",
    )
    if complete or partial:
        return tally
    if missing or not expected:
        raise DataError(
            what=f"{where} has {short_of}; missing: {_named(missing) or 'all, as none are expected'}",
            why="what is measured on a part of a set says nothing of the set",
            fix=again,
        )
    raise DataError(
        what=f"{where}: {len(failed):,} of {len(expected):,} samples failed, {most_failed:,} may: "
        f"{_named(sorted(failed))}; the first: {found[min(failed)]}",
        why="questions that are hard on the machine are not a random part of the set",
        fix=f"remove the cause and run them again: {again}",
    )


def require_configurations(
    *, task: str, expected: Sequence[str], found: Iterable[str], again: str, partial: bool = False
) -> str:
    """Pass if every configuration of a sweep was measured on a task; returns the watermark of a partial view, or "".

    expected: keys of the sweep. DataError names what is missing or does not belong, unless `partial`.
    """
    there = set(found)
    missing = [key for key in expected if key not in there]
    unknown = sorted(there - set(expected))
    if unknown:
        raise DataError(
            what=f"{task}: results of {_named([short(key) for key in unknown])}, which the sweep does not have",
            why="a frontier is over the configurations of one sweep",
            fix=f"move them away, or plan the sweep again; then {again}",
        )
    if not missing and expected:
        return ""
    count = f"{len(expected) - len(missing):,} of {len(expected):,} configurations"
    if partial:
        return f"PARTIAL: {count}"
    raise DataError(
        what=f"{task} has {count}; missing: {_named([short(key) for key in missing]) or 'all, as none are expected'}",
        why="a configuration that is not there cannot be on the frontier, and others are that it would beat",
        fix=again,
    )


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"
