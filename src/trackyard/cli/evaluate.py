"""`trackyard evaluate`: any model folder on tasks of tasks/, and two evaluations against each other."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from trackyard.cli.data.knowing import AsJson
from trackyard.cli.printing import print_json
from trackyard.cli.root import repository_root

if TYPE_CHECKING:
    from trackyard.recipes.nine.single.comparing import Comparison
    from trackyard.recipes.nine.single.results import Evaluation

app = typer.Typer(help="Any model folder on tasks of tasks/, and two models against each other.", no_args_is_help=True)

TASKS_SCHEMA, COMPARISON_SCHEMA = "trackyard-tasks/1", "trackyard-model-comparison/1"
MOST_CAPPED = 0.01
"""Share of answers that may end at their cap; more is a warning (nine-datasets spec section 1)."""


@app.command()
def run(
    folder: Annotated[Path, typer.Argument(help="Molmo2, Gemma 3 or causal model in the Hugging Face layout")],
    tasks: Annotated[list[str], typer.Option("--tasks", help="tasks or groups, several by commas or repetition")],
    out: Annotated[Path, typer.Option("--out", help="where results and answers go; one model to a folder")],
    data: Annotated[
        list[str] | None,
        typer.Option("--data", help="target of `data sync`, snapshot or local files: DIR, or TASK=DIR"),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=2, help="questions of a task at most, drawn by their ids")] = None,
    samples: Annotated[list[str] | None, typer.Option(help="TASK=N questions of one task")] = None,
    batch: Annotated[int, typer.Option(min=1, help="answers under way at once; it changes none")] = 32,
    part: Annotated[
        str | None, typer.Option("--shard", help="K/N: every N-th question from the K-th on, K from 0")
    ] = None,
    collect: Annotated[bool, typer.Option("--collect", help="answer nothing, put out what parts answered")] = False,
    precision: Annotated[Literal["fp32", "bf16"], typer.Option(help="of the weights")] = "fp32",
    partial: Annotated[bool, typer.Option("--partial", help="show what there is, with a watermark")] = False,
    visual: Annotated[int | None, typer.Option(min=0, help="level of pictures, not the model's own")] = None,
) -> None:
    """Answer and score; the same command goes on where a killed one was. Results are complete or refused."""
    root = repository_root()
    from trackyard.imports import import_heavy

    import_heavy("trackyard.recipes.nine.single.running")
    from trackyard.cli.stopping import resumable
    from trackyard.recipes.nine.single.running import evaluate
    from trackyard.recipes.nine.single.wanted import Wanted

    wanted = Wanted(
        root=root,
        folder=folder,
        out=out,
        names=_names(tasks),
        data=tuple(data or ()),
        samples=tuple(samples or ()),
        limit=limit,
        visual=visual,
        precision=precision,
        batch=batch,
        partial=partial,
    )
    with resumable():
        found = evaluate(wanted, part, collect=collect, say=_say)
    if found is not None:
        _print_evaluation(found, out, tuple(wanted.chosen))


@app.command()
def tasks(
    group: Annotated[str | None, typer.Option(help="only tasks of this group")] = None, as_json: AsJson = False
) -> None:
    """What can be asked: tasks of tasks/*.yaml, their data sets, metrics, caps and groups."""
    root = repository_root()
    from trackyard.evaluate.scorers.table import NOT_MEASURED
    from trackyard.evaluate.tasks.registry import choose_tasks, load_tasks
    from trackyard.recipes.nine.study import TASKS

    known = load_tasks(root / TASKS)
    shown = choose_tasks(known, [group]) if group else known
    if as_json:
        print_json({"schema": TASKS_SCHEMA, "tasks": list(shown.values())})
        return
    row = "{:22} {:30} {:24} {:10} {:14} {:>5} {:>9}  {}"
    print(row.format("name", "", "data set", "split", "metric", "cap", "questions", "groups"))
    for task in shown.values():
        questions = "" if task.samples is None else f"{task.samples:,}"
        print(
            row.format(
                task.name,
                task.title,
                task.entry or "local files",
                task.split,
                task.metric,
                task.new_tokens,
                questions,
                " ".join(task.groups),
            )
        )
    absent = {metric for task in shown.values() for metric in task.metrics if metric in NOT_MEASURED}
    for metric in sorted(absent):
        print(f"{metric} is not measured: {NOT_MEASURED[metric]}")


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="--out of one model")],
    second: Annotated[Path, typer.Argument(help="--out of the other")],
    tasks: Annotated[list[str] | None, typer.Option("--tasks", help="only these, by commas or repetition")] = None,
    as_json: AsJson = False,
) -> None:
    """Differences in pairs with 95 % intervals, and p corrected over the tasks; refused over other questions."""
    from trackyard.recipes.nine.single.comparing import compare as compare_folders

    found = compare_folders(first, second, _names(tasks or []))
    if as_json:
        rows = [
            {"task": task.task, "metric": found.metrics[task.task], "samples": task.difference.samples,
             "first": task.difference.first, "second": task.difference.second,
             "difference": task.difference.difference,
             "ci95": [task.difference.ci95.low, task.difference.ci95.high], "tie": task.difference.tie,
             "test": task.test, "p": task.p, "holm_p": task.holm_p}
            for task in found.tasks
        ]  # fmt: skip
        print_json({"schema": COMPARISON_SCHEMA, "first": found.first, "second": found.second, "tasks": rows})
        return
    _print_comparison(found)


@app.command()
def origin(
    folder: Annotated[Path, typer.Argument(help="exp5_accuracy_results_*.json, exp6_latency_*.json")],
    samples: Annotated[int, typer.Option(min=1, help="samples of the data set, all of which must be there")],
) -> None:
    """Result files of the code that the nine-dataset evaluation comes from, for comparison only."""
    from statistics import fmean, median

    from trackyard.evaluate.origin_files import read_origin

    row = "{:10} {:>6} {:>8} {:>7} {:>8}  {}"
    print(row.format("measured", "crops", "experts", "blocks", "samples", "mean score, or P50 of the total in ms"))
    for each in read_origin(folder, expected=samples):
        value = fmean(each.values("score")) if each.kind == "accuracy" else median(each.values("T_total_ms"))
        print(row.format(each.kind, each.visual, each.experts, each.blocks, f"{len(each.samples):,}", f"{value:.4f}"))
    print("measured elsewhere, under other rules: never put beside results of this project in one table")


def _names(texts: list[str]) -> tuple[str, ...]:
    return tuple(name.strip() for text in texts for name in text.split(",") if name.strip())


def _say(line: str) -> None:
    print(line, flush=True)


def _print_evaluation(found: Evaluation, out: Path, names: tuple[str, ...]) -> None:
    row = "{:22} {:15} {:>26} {:>8} {:>7} {:>9} {:>7}"
    level = "" if found.model.visual is None else f", visual level {found.model.visual}"
    print(f"{found.model.name} ({found.model.precision}{level})")
    print(row.format("task", "metric", "value [95 % interval]", "n", "at cap", "unparsed", "failed"))
    for name in names:
        task = found.tasks[name]
        for metric, value in task.metrics.items():
            cell = f"{value.value:.4f} [{value.lo:.4f}, {value.hi:.4f}]"
            print(
                row.format(
                    name,
                    metric,
                    cell,
                    f"{task.ok + task.failed:,}",
                    _share(task.cap_rate),
                    _share(task.unparsed_rate),
                    task.failed,
                )
            )
        if task.watermark:
            print(f"{name}: {task.watermark}")
    for name, reason in found.not_measured.items():
        print(f"{name}: not measured: {reason}")
    for name in names:
        task = found.tasks[name]
        if task.cap_rate is not None and task.cap_rate > MOST_CAPPED:
            sys.stderr.write(
                f"warning: {task.cap_rate:.1%} of the answers to {name} end at {task.new_tokens} tokens without an "
                f"end token: the score is of cut answers; raise new_tokens of the task in tasks/\n"
            )
    print(f"written: {out}")


def _print_comparison(found: Comparison) -> None:
    row = "{:22} {:15} {:>7} {:>8} {:>8} {:>28} {:>10} {:>9} {:>9}  {}"
    print(f"first: {found.first}; second: {found.second}")
    print(row.format("task", "metric", "n", "first", "second", "difference [95 % interval]", "test", "p", "Holm", ""))
    for task in found.tasks:
        gap = task.difference
        cell = f"{gap.difference:+.4f} [{gap.ci95.low:+.4f}, {gap.ci95.high:+.4f}]"
        verdict = "tie" if gap.tie else "first is better" if gap.difference > 0 else "second is better"
        print(
            row.format(
                task.task,
                found.metrics[task.task],
                f"{gap.samples:,}",
                f"{gap.first:.4f}",
                f"{gap.second:.4f}",
                cell,
                task.test,
                f"{task.p:.2g}",
                f"{task.holm_p:.2g}",
                verdict,
            )
        )


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
