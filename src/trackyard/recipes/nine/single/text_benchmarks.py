"""Benchmarks of texts on a folder: lm-evaluation-harness asks, and its figures are put beside those of other tasks.

A task is one piece of work: it is kept when it is complete, and done again when it was cut off. Weights are read as
fp32, whatever the precision of other tasks. Source: nine-datasets spec section 6, pile-ffn spec section 7.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

from trackyard.acquire.places import Places
from trackyard.catalog.entries import load_catalogue
from trackyard.catalog.selection import find
from trackyard.digest import canonical_json, digest_bytes, digest_file, digest_json
from trackyard.durable import write_atomic
from trackyard.errors import ConfigError, DataError
from trackyard.evaluate.harness.definitions import DEFINITIONS
from trackyard.evaluate.harness.items import CARD, Items, fetched_items
from trackyard.evaluate.harness.outcome import Figure, Outcome
from trackyard.evaluate.intervals import MetricValue
from trackyard.evaluate.statistics import LEVEL
from trackyard.evaluate.tasks.task import Task
from trackyard.recipes.nine.data import CATALOGUE
from trackyard.recipes.nine.single.results import TaskResult
from trackyard.recipes.nine.single.wanted import HARNESS, Wanted
from trackyard.recipes.nine.sweeping.scored import CONFIG, SAMPLES
from trackyard.sealed import read_sealed, write_sealed

SCHEMA = "trackyard-benchmark/1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """A task with its items, on one model. key: digest of all that decides its figures. limit: items at most."""

    task: Task
    items: Items
    limit: int | None
    key: str


def open_benchmarks(wanted: Wanted, model: str) -> dict[str, Benchmark]:
    """By task: items of the folder that was named, else of the hub's cache.

    model: digest of the folder. ConfigError for a model that is no causal one, EnvironmentLacking for items that are
    nowhere on this machine.
    """
    if wanted.compared:
        _require_causal(wanted.folder, next(iter(wanted.compared)))
    catalogue, cache = load_catalogue(wanted.root / CATALOGUE), Places.of(wanted.root).hub
    found = {}
    for name, task in wanted.compared.items():
        place = wanted.places.get(name)
        local = None if place is None else place / DEFINITIONS[name].entry
        if local is not None and (local / CARD).is_file():
            items = _local_items(local)
        else:
            items = fetched_items(find(catalogue, DEFINITIONS[name].entry), cache)
        limit = wanted.numbers.get(name, wanted.limit)
        key = digest_json({"model": model, "task": task.digest, "items": dict(items.files), "limit": limit})
        found[name] = Benchmark(task=task, items=items, limit=limit, key=key)
    return found


def _local_items(folder: Path) -> Items:
    files = {path.name: digest_file(path) for path in sorted(folder.iterdir()) if path.is_file()}
    return Items(dataset=folder.name, revision=digest_json(files), directory=folder, files=files)


def _require_causal(folder: Path, task: str) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        kind = type(AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False))
    except (OSError, ValueError) as error:
        raise DataError(
            what=f"no readable configuration of a model in {folder}: {error}",
            why=f"{task} is asked of the class that it names",
            fix="name a folder in the Hugging Face layout, such as the one a stage exported",
        ) from error
    if kind not in AutoModelForCausalLM._model_mapping:
        raise ConfigError(
            what=f"{task} of a model of the kind {kind.model_type!r}",
            why="lm-evaluation-harness compares likelihoods under the causal models of transformers",
            fix="leave the tasks of the group text out for this model",
        )


def run_benchmark(wanted: Wanted, benchmark: Benchmark, say: Callable[[str], None]) -> None:
    """Run one that is not complete, and keep it. DataError where the model cannot be asked an item of it."""
    if kept_result(wanted.out, benchmark) is not None:
        return
    import torch

    from trackyard.evaluate.harness.run import run_on_export

    name = benchmark.task.name
    outcome = run_on_export(
        wanted.folder,
        {name: benchmark.items},
        device="cuda" if torch.cuda.is_available() else "cpu",
        batch=wanted.batch,
        limit=benchmark.limit,
        positions=None,
    )
    if name in outcome.absent:
        raise DataError(
            what=f"{name} did not run: {outcome.absent[name]}",
            why="a score over the other items is not the score of the benchmark",
            fix="leave the task out for this model",
        )
    lines = b"".join(sample.line() for sample in outcome.samples)
    folder = wanted.out / name
    write_atomic(folder / SAMPLES, lines)
    # Last: a task whose configuration is there, and names the samples beside it, is complete.
    write_sealed(folder / CONFIG, SCHEMA, _body(benchmark, outcome) | {"samples": digest_bytes(lines)})
    say(f"{name}: {len(outcome.samples):,} items by {HARNESS}")


def kept_result(out: Path, benchmark: Benchmark) -> TaskResult | None:
    """Of a benchmark that is complete; None where it is not, or other items or another model were asked."""
    folder = out / benchmark.task.name
    if not (folder / CONFIG).is_file():
        return None
    body = read_sealed(folder / CONFIG, SCHEMA, fix=f"move {folder} away and run again")
    whole = (folder / SAMPLES).is_file() and digest_file(folder / SAMPLES) == body["samples"]
    if body["key"] != benchmark.key or not whole:
        return None
    return TaskResult(
        layout=HARNESS,
        asked=body["asked"],
        metric=benchmark.task.metric,
        metrics={name: MetricValue(**figure) for name, figure in body["metric"].items()},
        expected=body["n"],
        ok=body["n"],
        failed=0,
        cap_rate=None,
        unparsed_rate=None,
        new_tokens=benchmark.task.new_tokens,
        files={SAMPLES: body["samples"]},
    )


def _body(benchmark: Benchmark, outcome: Outcome) -> dict[str, Any]:
    of = outcome.tasks[benchmark.task.name]
    return {
        "key": benchmark.key,
        # Of items, prompts and targets: equal for models that were asked the same.
        "asked": digest_json({"task": benchmark.task.digest, "items": of.task_hash}),
        "dataset": of.dataset,
        "dataset_revision": of.dataset_revision,
        "chance": of.chance,
        "n": of.n,
        "metric": {name: _value(name, figure) for name, figure in of.metrics.items()},
    }


def _value(name: str, figure: Figure) -> Mapping[str, Any]:
    """With the interval that the harness's standard error gives. DataError where it gives none."""
    if figure.stderr is None:
        raise DataError(
            what=f"{name} is {figure.value} without a standard error",
            why="a figure without its interval cannot be compared with another",
            fix="ask at least two items: a higher --limit",
        )
    half = NormalDist().inv_cdf((1 + LEVEL) / 2) * figure.stderr
    return {"value": figure.value, "lo": figure.value - half, "hi": figure.value + half, "method": "normal"}


def item_key(line: Mapping[str, Any]) -> str:
    """The name of an item: the same for every model that was asked it."""
    return canonical_json([line["task"], line["doc_id"], line["item"]]).decode()
