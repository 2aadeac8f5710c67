"""`trackyard plan`: what a stage will train on, before it trains."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trackyard.cli.data.knowing import AsJson
from trackyard.cli.printing import as_fields, print_json
from trackyard.cli.root import repository_root
from trackyard.cli.table import STAGES
from trackyard.errors import ConfigError

if TYPE_CHECKING:
    from trackyard.plan.plan import Plan
    from trackyard.recipes.molmo2.prepare import Prepared

app = typer.Typer(
    help="What a stage trains on, pack by pack: made, shown, re-examined, compared.", no_args_is_help=True
)

Stage = Annotated[str, typer.Argument(help="stage1, stage2 or stage3")]
Params = Annotated[Path, typer.Option("--params", help="parameter file")]

PARAMETERS = Path("params.yaml")


@app.command()
def build(stage: Stage, parameters: Params = PARAMETERS, as_json: AsJson = False) -> None:
    """Measure what is not measured yet, build the plan of a stage or open the one that is there, and show it."""
    from trackyard.cli.plan_printing import print_summary, summary_document

    prepared = _prepare(stage, parameters)
    if as_json:
        print_json(summary_document(prepared.plan, prepared.spec.run_id))
    else:
        print_summary(prepared.plan, stage)


@app.command()
def show(
    plan: Annotated[str, typer.Argument(help="a stage, or the folder of a plan")],
    parameters: Params = PARAMETERS,
    step: Annotated[int | None, typer.Option(help="print the rows of the packs of this step")] = None,
    slot: Annotated[int | None, typer.Option(help="only of this pack of the step")] = None,
    as_json: AsJson = False,
) -> None:
    """Mixture, repeats, fill and what was left out of a plan that is there, or the rows of its packs."""
    from trackyard.cli.plan_printing import packs_document, print_packs, print_summary, summary_document

    if slot is not None and step is None:
        raise ConfigError(
            what=f"--slot {slot} without --step", why="a slot is a pack of a step", fix="name both: --step 0 --slot 0"
        )
    found, run_id = _open(plan, parameters)
    if step is not None:
        document = packs_document(found, step, slot)
        print_json(document) if as_json else print_packs(document)
    elif as_json:
        print_json(summary_document(found, run_id))
    else:
        print_summary(found, plan)


@app.command()
def check(stage: Stage, parameters: Params = PARAMETERS, as_json: AsJson = False) -> None:
    """Examine every pack and row of a stage's plan anew, from the measured lengths; exit code 1 if one is wrong."""
    from trackyard.cli.stage_settings import require_stage

    require_stage(stage, command="plan check stage1")
    _require_built(stage, parameters)
    prepared = _prepare(stage, parameters)
    from trackyard.plan.check import check_plan
    from trackyard.recipes.molmo2.prepare import dataset_input, index_of

    lengths = {
        name: dataset_input(dataset, index_of(dataset, "train", prepared.feed, prepared.start.tokens, prepared.root))
        for name, dataset in prepared.datasets.items()
    }
    checked = check_plan(prepared.plan, lengths)
    if as_json:
        print_json(
            {"schema": "trackyard-plan-check/1", "ok": checked.ok, "fingerprint": prepared.plan.fingerprint}
            | as_fields(checked)
        )
        sys.exit(0 if checked.ok else 1)
    for problem in checked.problems:
        place = "" if problem.step is None else f"step {problem.step}"
        place += "" if problem.slot is None else f", slot {problem.slot}"
        print(f"problem: {problem.kind}: {f'{place}: ' if place else ''}{problem.what}")
    untold = sum(checked.counts.values()) - len(checked.problems)
    if untold:
        print(f"{untold:,} problems more: {', '.join(f'{kind} {count:,}' for kind, count in checked.counts.items())}")
    print(
        f"examined: {checked.packs:,} packs in {checked.steps:,} steps, {checked.rows:,} rows; "
        f"{sum(checked.counts.values()):,} problems"
    )
    sys.exit(0 if checked.ok else 1)


@app.command()
def diff(
    a: Annotated[str, typer.Argument(help="a stage, or the folder of a plan")],
    b: Annotated[str | None, typer.Argument(help="the other one; none: the same stage with --against")] = None,
    parameters: Params = PARAMETERS,
    against: Annotated[Path | None, typer.Option(help="parameter file of the other one")] = None,
    as_json: AsJson = False,
) -> None:
    """Inputs, rates and totals of two plans that differ, and the first pack in which they part."""
    if b is None and against is None:
        raise ConfigError(
            what=f"only {a} is named",
            why="two plans are compared",
            fix="name a second folder or stage, or another parameter file with --against",
        )
    from trackyard.cli.plan_printing import print_difference
    from trackyard.plan.difference import difference

    one, _ = _open(a, parameters)
    other, _ = _open(b or a, against or parameters)
    found = difference(one, other)
    if as_json:
        shares = {"share_equal": found.share_equal, "total_variation": found.total_variation}
        print_json({"schema": "trackyard-plan-difference/1"} | as_fields(found) | shares)
        return
    print_difference(one, other, found)


def _prepare(stage: str, parameters: Path) -> Prepared:
    from trackyard.cli.stage_settings import require_stage

    root = repository_root()
    require_stage(stage, command="plan build stage1")
    from trackyard.recipes.molmo2.parameters import load_molmo2
    from trackyard.recipes.molmo2.prepare import prepare

    return prepare(load_molmo2(root / parameters), stage, root)  # type: ignore[arg-type]


def _require_built(stage: str, parameters: Path) -> None:
    """ConfigError, before anything heavy is imported, where no plan of these settings and data can be there."""
    from trackyard.cli.stage_settings import fitting_plans, read_settings

    root = repository_root()
    if not fitting_plans(root, read_settings(root, parameters, stage)):
        option = "" if parameters == PARAMETERS else f" --params {parameters}"
        raise ConfigError(
            what=f"there is no plan of {stage} with the settings of {parameters} and the data at hand",
            why="a plan is shown as it was built, and one of other settings would be another plan",
            fix=f"trackyard plan build {stage}{option}",
        )


def _open(name: str, parameters: Path) -> tuple[Plan, str | None]:
    """The plan of a stage with its run id, or the plan in a folder."""
    if name in STAGES:
        _require_built(name, parameters)
        prepared = _prepare(name, parameters)
        return prepared.plan, prepared.spec.run_id
    from trackyard.plan.plan import DOCUMENT, Plan

    if not (Path(name) / DOCUMENT).is_file():
        raise ConfigError(
            what=f"{name!r} is neither a stage nor the folder of a plan",
            why=f"the stages are {', '.join(STAGES)}, and a plan's folder holds {DOCUMENT}",
            fix="trackyard plan show stage1, or name a folder of artifacts/plans",
        )
    return Plan.open(Path(name)), None
