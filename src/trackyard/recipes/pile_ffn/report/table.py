"""One row per arm: what the study's results come to, over seeds and seed by seed.

The mean over seeds is of the study's own seeds. An interval is over documents: each document's rise is first averaged
over seeds, so it says nothing of other seeds; the numbers per cell show how far seeds lie apart.
Source: pile-ffn spec sections 7, 8.1, 8.4, 9 and 10.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from trackyard.digest import digest_json
from trackyard.errors import DataError
from trackyard.evaluate.comparison import AttackOutcome
from trackyard.evaluate.harness.definitions import DEFINITIONS
from trackyard.evaluate.statistics import RESAMPLES, bootstrap_mean
from trackyard.recipes.pile_ffn.cells import Arm, Cell
from trackyard.recipes.pile_ffn.report.gathering import ATTACKS, Gathered
from trackyard.recipes.pile_ffn.report.rows import ArmRow, AttackRow, Measure, OrderRow, OverSeeds, TaskRow
from trackyard.recipes.pile_ffn.results import Result


def tabulate(gathered: Gathered, cells: Mapping[str, Cell], *, resamples: int = RESAMPLES) -> list[ArmRow]:
    """A row for every arm, in the order in which its first cell is declared. DataError where cells are not alike."""
    _refuse_unlike_tasks(gathered.results["eval_bench"])
    arms = dict.fromkeys(cell.arm for cell in cells.values())
    return [_row(arm, gathered, [name for name, cell in cells.items() if cell.arm == arm], resamples) for arm in arms]


def transfers(gathered: Gathered) -> dict[str, dict[str, dict[str, OverSeeds]]]:
    """Attack -> arm it was crafted on -> arm it was replayed on -> mean rise in nats per token, by seed."""
    found: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for seed, result in gathered.results["attack_transfer"].items():
        for source, targets in result.body["cells"].items():
            for target, attacks in targets.items():
                for attack, body in attacks.items():
                    cells = found.setdefault(attack, {}).setdefault(source, {}).setdefault(target, {})
                    cells[seed] = body["mean_delta_nats"]
    return {
        attack: {
            source: {target: OverSeeds.of(cells) for target, cells in targets.items()}
            for source, targets in sources.items()
        }
        for attack, sources in found.items()
    }


def measures(result: Result) -> dict[str, Measure]:
    """Benchmarks of a cell that ran, by task."""
    found = {}
    for task, body in result.body["tasks"].items():
        metric = DEFINITIONS[task].metric
        found[task] = Measure(
            metric=metric,
            value=body[metric]["value"],
            stderr=body[metric]["stderr"],
            chance=body["chance"],
            items=body["n"],
        )
    return found


def resampling(*key: str) -> np.random.Generator:
    """Random numbers of an interval, by what it is about: so that it does not depend on what else is in the table."""
    digest = digest_json(["trackyard-interval", *key])
    return np.random.Generator(np.random.Philox(key=int(digest[:32], 16)))


def _row(arm: str, gathered: Gathered, names: list[str], resamples: int) -> ArmRow:
    perplexity = {name: gathered.results["eval_ppl"][name].body for name in names}

    def over(number: Callable[[Mapping[str, Any]], float]) -> OverSeeds:
        return OverSeeds.of({name: number(body) for name, body in perplexity.items()})

    return ArmRow(
        arm=arm,
        variant=Arm.named(arm).variant,
        cells=tuple(names),
        val_nll=_validation(gathered, names),
        matched=gathered.results["init"][arm].body["matched"] if arm in gathered.results["init"] else None,
        noise={name: gathered.results["degrade"][name].body["sigma"] for name in names}
        if names[0] in gathered.results["degrade"]
        else None,
        nll=over(lambda body: body["nll"]),
        nll_ci95={name: body["ci95"] for name, body in perplexity.items()},
        ppl=over(lambda body: body["ppl"]),
        bpb=over(lambda body: body["bpb"]),
        by_component={
            component: OverSeeds.of({name: body["by_component"][component]["ppl"] for name, body in perplexity.items()})
            for component in perplexity[names[0]]["by_component"]
        },
        benchmarks=_benchmarks({name: measures(gathered.results["eval_bench"][name]) for name in names}),
        attacks={
            attack: _attack(
                {name: gathered.results[stage][name].body["attacks"][attack] for name in names},
                resampling(arm, attack),
                resamples,
            )
            for stage in ATTACKS
            for attack in gathered.results[stage][names[0]].body["attacks"]
        },
        order=_order({name: gathered.results["probe_order"][name].body for name in names}),
    )


def _validation(gathered: Gathered, names: Sequence[str]) -> OverSeeds | None:
    """Trained arms have it of the end of training, degraded ones of their matching."""
    found = {
        name: body["final"]["val_nll"] if stage == "train" else body["nll"]
        for stage in ("train", "degrade")
        for name in names
        if name in gathered.results[stage]
        for body in [gathered.results[stage][name].body]
    }
    return OverSeeds.of(found) if found else None


def _benchmarks(found: Mapping[str, Mapping[str, Measure]]) -> dict[str, TaskRow]:
    rows = {}
    for task, first in next(iter(found.values())).items():
        scores = {name: tasks[task] for name, tasks in found.items()}
        rows[task] = TaskRow(
            metric=first.metric,
            score=OverSeeds.of({name: score.value for name, score in scores.items()}),
            stderr={name: score.stderr for name, score in scores.items()},
            chance=first.chance,
            items=first.items,
        )
    return rows


def _attack(blocks: Mapping[str, Mapping[str, Any]], rng: np.random.Generator, resamples: int) -> AttackRow:
    rises = {name: AttackOutcome.of(block).deltas for name, block in blocks.items()}
    documents = next(iter(rises.values()))
    for name, found in rises.items():
        if found.keys() != documents.keys():
            raise DataError(
                what=f"{name} was attacked on other documents than {next(iter(rises))}",
                why="a mean over seeds is then one over texts as well",
                fix="run its attacks again: dvc repro -f pipelines/pile_ffn/dvc.yaml:attack@" + name.rpartition("-")[0],
            )
    averaged = [fmean(found[doc_id] for found in rises.values()) for doc_id in documents]
    return AttackRow(
        documents=len(documents),
        delta_nats=OverSeeds.of({name: block["mean_delta_nats"] for name, block in blocks.items()}),
        ci95=bootstrap_mean(averaged, rng=rng, resamples=resamples) if len(averaged) > 1 else None,
        success={
            tau: OverSeeds.of({name: block["success"][tau] for name, block in blocks.items()})
            for tau in next(iter(blocks.values()))["success"]
        },
        relative_not_primary=OverSeeds.of({name: block["relative_not_primary"] for name, block in blocks.items()}),
    )


def _order(bodies: Mapping[str, Mapping[str, Any]]) -> OrderRow:
    fitted = {name: body["pooling"]["last"] for name, body in bodies.items()}
    random = [body["controls"]["random_directions"]["last"]["score"] for body in bodies.values()]
    direct = [[check["without_residual"] for check in body["ffn_direct"]] for body in bodies.values()]
    cells = {name: list(found["score"]) for name, found in fitted.items()}
    return OrderRow(
        layers=tuple(next(iter(fitted.values()))["layer"]),
        score=_by_layer(list(cells.values())),
        cells=cells,
        random=_by_layer(random),
        ffn_direct=_by_layer(direct),
    )


def _by_layer(cells: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Mean over cells [layers]."""
    return tuple(fmean(scores) for scores in zip(*cells, strict=True))


def _refuse_unlike_tasks(found: Mapping[str, Result]) -> None:
    """Benchmarks are compared between cells where they are the same tasks on the same items."""
    stated = {
        name: {
            task: {key: body[key] for key in ("n", "dataset_revision", "task_hash")}
            for task, body in result.body["tasks"].items()
        }
        for name, result in found.items()
    }
    first = next(iter(stated))
    for name, tasks in stated.items():
        for task in stated[first].keys() | tasks.keys():
            if tasks.get(task) != stated[first].get(task):
                raise DataError(
                    what=f"{task} is {stated[first].get(task, 'absent')} in {first} and "
                    f"{tasks.get(task, 'absent')} in {name}",
                    why="accuracies on other items, or under another definition of the task, are not compared",
                    fix=f"run the evaluation of the older one again: dvc repro -f pipelines/pile_ffn/dvc.yaml ({name})",
                )
