"""Stages that are divided into parts: a job each, and one behind them that joins and commits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from trackyard.errors import ConfigError
from trackyard.launch.jobs.graph import Job
from trackyard.launch.jobs.naming import unique


def parts_asked(shards: Mapping[str, int], divisible: Mapping[str, bool]) -> dict[str, int]:
    """Parts by address. shards: as typed, by address or by what stands behind its colon; divisible: of every stage.

    ConfigError for a name of no stage, or of one that cannot be divided.
    """
    found = {}
    for typed, parts in shards.items():
        named = [one for one in divisible if typed in (one, one.rpartition(":")[2])]
        if len(named) != 1 or not divisible[named[0]] or parts < 2:
            can = ", ".join(one for one, may in divisible.items() if may) or "none"
            told = f"no stage {typed!r}" if not named else f"{len(named)} stages {typed!r}" if len(named) > 1 else typed
            raise ConfigError(
                what=f"--shards {typed}={parts}: {told}" + (" cannot be divided so" if len(named) == 1 else ""),
                why=f"of these targets can be divided, into two parts or more: {can}",
                fix=f"--shards {typed if len(named) == 1 and divisible[named[0]] else 'STAGE'}=4 with one of them",
            )
        found[named[0]] = parts
    return found


def divided(job: Job, parts: int, taken: Iterable[str]) -> list[Job]:
    """The parts of a job, as tasks of an array, and the job itself, which waits for them: it joins, and it commits."""
    names = set(taken) | {job.name}
    array = unique(f"{job.name}-parts", names)
    found: list[Job] = []
    for index in range(parts):
        name = unique(f"{job.name}-part-{index}", names | {array})
        names.add(name)
        shard = ("--shard", f"{index}/{parts}")
        found.append(replace(job, name=name, command=job.command + shard, array=array, index=index, commits=False))
    return [*found, replace(job, after=tuple(one.name for one in found))]
