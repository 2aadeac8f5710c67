"""The ten checks of the study's models and data; each mode does what it says. Source: pile-ffn spec 2, 5, 12.

quick: metadata only. default: also tokenizer and configuration into the real cache, and first records of each split.
full: also weights with their digests, a forward pass, the held-out files and the benchmarks' data, into the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from trackyard.acquire.places import Places
from trackyard.catalog.entries import Entry
from trackyard.launch.doctor.packages import dependencies
from trackyard.launch.preflight import Check, Report, Row, run_checks
from trackyard.recipes.checking.machine import accelerator
from trackyard.recipes.pile_ffn.preflight.hub import Asked, access, network, tasks
from trackyard.recipes.pile_ffn.preflight.machine import disk, self_test
from trackyard.recipes.pile_ffn.preflight.model import model, tokenizer
from trackyard.recipes.pile_ffn.preflight.parameters import MODES, Mode, PreflightParameters
from trackyard.recipes.pile_ffn.preflight.text import text

__all__ = ["MODES", "Mode", "PreflightParameters", "run_preflight"]


def run_preflight(
    dataset: Entry,
    benchmarks: Sequence[Entry],
    parameters: PreflightParameters,
    *,
    mode: Mode,
    offline: bool,
    places: Places,
    root: Path,
    endpoint: str | None = None,
    progress: Callable[[Row], None] | None = None,
) -> Report:
    """Run the ten checks of a mode; modes are cumulative. offline: the cache is verified instead of the network.

    dataset: the entry of the training text; benchmarks: entries of the evaluation tasks.
    """
    asked = Asked(
        dataset=dataset,
        benchmarks=tuple(benchmarks),
        parameters=parameters,
        mode=mode,
        offline=offline,
        places=places,
        endpoint=endpoint,
    )
    gpu = partial(
        accelerator,
        needed=parameters.needs_accelerator,
        device_bytes=parameters.device_bytes,
        smaller="trackyard estimate pile_ffn train",
    )
    return run_checks(
        (
            Check(name="network", run=partial(network, asked)),
            Check(name="dependencies", run=partial(dependencies, root)),
            Check(name="auth", run=partial(access, asked)),
            Check(name="disk and inodes", run=partial(disk, parameters, mode, places, root)),
            Check(name="model metadata", run=partial(model, asked)),
            Check(name="dataset metadata", run=partial(text, asked)),
            Check(name="tokenizer", run=partial(tokenizer, asked)),
            Check(name="benchmarks", run=partial(tasks, asked)),
            Check(name="accelerator", run=gpu),
            Check(name="self-test", run=self_test),
        ),
        progress=progress,
    )
