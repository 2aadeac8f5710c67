"""`trackyard feed`: see what the model is given, and draw the figures of its guide."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trackyard.cli.printing import print_json
from trackyard.cli.root import repository_root
from trackyard.cli.table import STAGES
from trackyard.errors import ConfigError

if TYPE_CHECKING:
    from trackyard.recipes.molmo2.prepare import Prepared

VIEW = "trackyard-feed-view/1"
FIGURES = "trackyard-feed-figures/1"

app = typer.Typer(no_args_is_help=True, help="See what the model is given.")

Params = Annotated[Path, typer.Option("--params", help="parameter file")]
AsJson = Annotated[bool, typer.Option("--json", help="one JSON document on standard output")]


@app.command("view")
def view(
    stage: Annotated[str, typer.Argument(help="stage1, stage2 or stage3")] = "stage2",
    packs: Annotated[int, typer.Option(help="packs of the plan to show", min=1)] = 8,
    step: Annotated[int, typer.Option(help="step to begin at", min=0)] = 0,
    snapshot: Annotated[Path | None, typer.Option(help="show rows of this snapshot instead: no plan is needed")] = None,
    dataset: Annotated[str | None, typer.Option(help="with --snapshot: one dataset of it")] = None,
    split: Annotated[str, typer.Option(help="with --snapshot: train or validation")] = "train",
    rows: Annotated[int, typer.Option(help="with --snapshot: rows to show, spread evenly", min=1)] = 8,
    parameters: Params = Path("params.yaml"),
    out: Annotated[Path, typer.Option(help="the page")] = Path("view.html"),
    as_json: AsJson = False,
) -> None:
    """Write one page that shows packs as the model is given them: pixels, text by role, weights, attention, points."""
    root = repository_root()
    if stage not in STAGES:
        raise ConfigError(
            what=f"no stage {stage!r}",
            why=f"the track molmo2 has {', '.join(STAGES)}",
            fix="trackyard feed view stage2",
        )
    if snapshot is None and (dataset is not None or split != "train"):
        raise ConfigError(
            what="--dataset or --split without --snapshot",
            why="the packs of a plan hold training rows of all its datasets",
            fix="name the snapshot too, for example --snapshot data/mini",
        )
    from trackyard.durable import write_atomic
    from trackyard.feed.view import view_plan, view_rows
    from trackyard.feed.view_page import page
    from trackyard.recipes.molmo2.parameters import load_molmo2

    loaded = load_molmo2(root / parameters)
    if snapshot is None:
        from trackyard.recipes.molmo2.prepare import prepare

        made = prepare(loaded, stage, root)  # type: ignore[arg-type]
        title = f"{stage}: what the model is given"
        facts = _plan_facts(made)
        found = list(view_plan(made.plan, made.datasets, made.feed, made.start.tokens, step=step, packs=packs))
    else:
        from trackyard.recipes.molmo2.start import prepare_start
        from trackyard.snapshot.reader import open_snapshot

        everything = open_snapshot(snapshot, None)
        chosen = everything if dataset is None else open_snapshot(snapshot, [dataset])
        start = prepare_start(loaded.model_copy(update={"snapshot": snapshot}), "stage1", root, everything)
        title = f"{snapshot}: what the model would be given"
        feed = loaded.feed(stage)  # type: ignore[arg-type]
        facts = {
            "parameters": f"{parameters}, {stage}",
            "tokenizer": start.tokens.fingerprint[:12],
            "budget": f"{feed.max_tokens:,} tokens, {feed.max_inputs:,} visual inputs",
        }
        found = list(view_rows(chosen, feed, start.tokens, rows=rows, split=split))
    write_atomic(out, page(title, facts, found))
    shown = [row for pack in found for row in pack.rows]
    broken = [{"dataset": row.dataset, "row": row.number, "reason": row.reason} for row in shown if row.reason]
    if as_json:
        print_json({"schema": VIEW, "written": out, "packs": len(found), "rows": len(shown), "unusable": broken})
        return
    for item in broken:
        print(f"unusable: row {item['row']:,} of {item['dataset']}: {item['reason']}")
    print(f"wrote {out}: {len(found)} sequences, {len(shown)} rows, {out.stat().st_size / 1e6:,.1f} MB")


@app.command("figures")
def figures(
    parameters: Params = Path("params.yaml"),
    out: Annotated[Path, typer.Option(help="folder of the figures")] = Path("docs/figures"),
    as_json: AsJson = False,
) -> None:
    """Draw the figures of the guide: message tree, packing of stage 2, plan, sampling of frames."""
    root = repository_root()
    from trackyard.durable import write_atomic
    from trackyard.feed.figures import figures as draw
    from trackyard.recipes.molmo2.parameters import load_molmo2
    from trackyard.recipes.molmo2.prepare import prepare

    made = prepare(load_molmo2(root / parameters), "stage2", root)
    written = []
    for name, text in draw(made.plan, made.datasets, made.feed, made.start.tokens).items():
        write_atomic(out / name, text)
        written.append(out / name)
    if as_json:
        print_json({"schema": FIGURES, "written": written, "plan": made.plan.fingerprint})
        return
    for path in written:
        print(f"wrote {path}")


def _plan_facts(made: Prepared) -> Mapping[str, str]:
    """The numbers of the run that a plan belongs to."""
    plan = made.plan
    return {
        "plan": plan.fingerprint,
        "run": made.spec.run_id,
        "steps": f"{plan.steps:,} of {plan.packs_per_step:,} packs",
        "budget": f"{plan.budget.tokens:,} tokens, {plan.budget.inputs:,} visual inputs",
        "rows drawn": f"{plan.summary['totals']['rows']:,}",
        "padding of the whole plan": f"{plan.summary['totals']['padding_fraction']:.1%}",
        "seed": str(plan.seed),
    }
