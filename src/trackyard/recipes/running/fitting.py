"""What a run went on with after its device ran out of memory, kept in the run directory so that restarts begin there.

Source: issue on the training engine (memory); the order of changes is that of trackyard.train.memory.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from trackyard.errors import TrackyardError
from trackyard.schema import read_document, write_document
from trackyard.train.memory import smaller
from trackyard.train.parameters import EngineParameters

SCHEMA = "trackyard-fit/1"
DOCUMENT = "fit.json"
_FIELDS = ("micro_batch", "activation_checkpointing", "offload_optimizer", "zero_stage")
"""What `smaller` may change."""

log = logging.getLogger(__name__)


class OutOfDeviceMemory(TrackyardError):
    """A step does not fit into the device."""


def fitted(engine: EngineParameters, run: Path) -> EngineParameters:
    """The settings that fit, as far as this run has found out; those given, where it began with others."""
    path = run / DOCUMENT
    if not path.exists():
        return engine
    found = read_document(path, SCHEMA, fix=f"rm {path}   (the run then finds out again what fits)")
    return engine.model_copy(update=found["engine"]) if found["given"] == _chosen(engine) else engine


def changes(run: Path) -> list[str]:
    """What was changed so far, in words, in order."""
    path = run / DOCUMENT
    if not path.exists():
        return []
    tried: list[str] = read_document(path, SCHEMA, fix=f"rm {path}")["changes"]
    return tried


def fit_smaller(given: EngineParameters, now: EngineParameters, run: Path, error: Exception) -> None:
    """Write down what to try next after `error`; every rank that ran out of memory writes the same.

    given: the settings of the parameter file; now: those that did not fit. Raises OutOfDeviceMemory if fitting is off
    or nothing is left to try.
    """
    following = smaller(now) if given.fit else None
    if following is None:
        advice = smaller(now)
        raise OutOfDeviceMemory(
            what=f"the device is out of memory with {_words(now)}: {' '.join(str(error).split())[:300]}",
            why="the step at hand was not finished; checkpoints are untouched, and the global batch must stay",
            fix=(
                "shorten the packs, use more or larger devices, or raise engine.context_degree in params.yaml"
                if advice is None
                else f"set engine.fit: true in params.yaml, or there: {advice[1]}; then run the same command again"
            ),
        ) from error
    settings, change = following
    log.warning("out of device memory: %s; the global batch stays", change)
    document = {"given": _chosen(given), "engine": _chosen(settings), "changes": [*changes(run), change]}
    write_document(run / DOCUMENT, SCHEMA, document)


def _chosen(engine: EngineParameters) -> dict[str, Any]:
    return engine.model_dump(mode="json", include=set(_FIELDS))


def _words(engine: EngineParameters) -> str:
    return ", ".join(f"{name}={value}" for name, value in _chosen(engine).items())
