"""Why a stage would run: what DVC finds changed about it, in a reason and a line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from trackyard.errors import TrackyardError
from trackyard.launch.jobs.dvc_stages import address, never_ran
from trackyard.launch.jobs.graph import Reason
from trackyard.launch.jobs.inputs import COMMAND, MISSING

if TYPE_CHECKING:
    from dvc.stage import Stage

_SHOWN = 4
"""Changes that a line names."""
_WORDS = {"changed command": COMMAND, "always changed": "DVC never takes it as done"}


def status_lines(stage: Stage) -> list[Any]:
    """What `dvc status` tells of the stage; empty where it is up to date."""
    return [entry for entries in stage.status().values() for entry in entries]


def why_stale(stage: Stage) -> tuple[Reason, str] | None:
    """Reason and detail; None where the stage itself is up to date. Stages before it are not looked at."""
    found = status_lines(stage)
    if not found:
        return None
    if never_ran(stage):
        return "never run", ""
    inputs: list[str] = []
    outputs: list[str] = []
    for entry in found:
        if isinstance(entry, str):
            inputs.append(_WORDS.get(entry, entry))
            continue
        inputs += _named(entry.get("changed deps", {}))
        outputs += _named(entry.get("changed outs", {}))
    return ("inputs changed", _listed(inputs)) if inputs else ("outputs changed", _listed(outputs))


def lacking_source(stage: Stage) -> TrackyardError | None:
    """What is wrong with data that no stage makes (data.dvc), or that of a frozen one; None where it is as recorded."""
    changed = [line for entry in status_lines(stage) if isinstance(entry, dict) for line in entry.items()]
    outs = {path: how for kind, paths in changed if kind == "changed outs" for path, how in paths.items()}
    if not outs:
        return None
    name, why = address(stage), "its data are an input of the stages, and jobs make only what stages make"
    gone = [path for path, how in outs.items() if how in ("deleted", "not in cache", "new")]
    if gone:
        return TrackyardError(what=f"{', '.join(gone)} of {name} is {outs[gone[0]]}", why=why, fix=f"dvc pull {name}")
    return TrackyardError(
        what=f"{', '.join(outs)} is not what {name} says",
        why=why,
        fix=f"take it as it is: `dvc commit {name}`, or bring back what was recorded: `dvc checkout {name}`",
    )


def lacking_input(stage: str, key: str, digest: str) -> TrackyardError | None:
    """What is wrong with an input that no stage makes; None if it is there."""
    if digest != MISSING:
        return None
    file, _, name = key.partition(":")
    return TrackyardError(
        what=f"stage {stage} depends on {key}, which is not there",
        why="no stage makes it, so that its job would wait, start and fail",
        fix=f"set {name} in {file}" if name else f"git checkout -- {file}   (or make it, if it is yours)",
    )


def _named(changes: dict[str, Any]) -> Iterator[str]:
    for path, how in changes.items():
        # Of parameters a name each; `new` alone where none of the file was recorded.
        names = how.items() if isinstance(how, dict) else [("", how)]
        yield from (f"{path} {name} {state}".replace("  ", " ") for name, state in names)


def _listed(changes: list[str]) -> str:
    further = len(changes) - _SHOWN
    return ", ".join(changes[:_SHOWN]) + (f" and {further} more" if further > 0 else "")
