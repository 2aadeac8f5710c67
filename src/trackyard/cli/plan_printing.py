"""How plans are printed: mixture and totals of one, the rows of its packs, what two have in common."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from trackyard.errors import ConfigError
from trackyard.plan.difference import Difference
from trackyard.plan.plan import STEP_COLUMNS, Plan, describe

DIGEST = re.compile(r"[0-9a-f]{64}")


def summary_document(plan: Plan, run_id: str | None) -> dict[str, Any]:
    """The whole summary, with what identifies the plan. run_id: of the run that would train on it, None if unknown."""
    head = {"schema": "trackyard-plan-summary/1", "fingerprint": plan.fingerprint, "directory": plan.directory}
    return head | ({} if run_id is None else {"run_id": run_id}) | {"per_step": _per_step(plan)} | plan.summary


def print_summary(plan: Plan, name: str) -> None:
    """The mixture asked for and obtained, repeats, tokens, fill, and what was left out. name: as the user called it."""
    print(f"{name}: plan {plan.fingerprint[:12]} in {_folder(plan)}")
    row = "{:32} {:22} {:>9} {:>10} {:>9} {:>9} {:>12} {:>8}"
    print(row.format("entry", "group", "target %", "realised %", "tokens %", "visual %", "rows", "epochs"))
    visual = max(plan.summary["totals"]["visual_tokens"], 1)
    for entry in describe(plan):
        shares = (entry["rate"], entry["row_share"], entry["token_share"], entry["visual_tokens"] / visual)
        print(
            row.format(
                entry["name"],
                entry["group"],
                *(f"{100 * share:.2f}" for share in shares),
                f"{entry['rows_drawn']:,}",
                f"{entry['epochs']:.2f}",
            )
        )
    totals = plan.summary["totals"]
    print(
        f"{totals['steps']:,} steps of {plan.packs_per_step} packs, {totals['rows']:,} rows "
        f"({totals['rows_per_pack']:.1f} per pack)"
    )
    print(
        f"{totals['tokens']:,} tokens: {totals['tokens'] - totals['visual_tokens']:,} of text, "
        f"{totals['visual_tokens']:,} visual; {totals['label_tokens']:,} are targets"
    )
    for column, of in _per_step(plan).items():
        print(f"per step: {of['mean']:,.0f} {column.replace('_', ' ')} ({of['least']:,} to {of['most']:,})")
    print(
        f"fill: {totals['fill']:.1%} of all positions, at best {totals['bound']:.1%} with these rows; "
        f"{totals['padding_fraction']:.1%} padding"
    )
    for cut in plan.summary["capped"]:
        print(
            f"capped: {cut['dataset']} from {cut['asked_rate']:.3%} and {cut['asked_epochs']:.1f} epochs to "
            f"{cut['rate']:.3%} and {cut['epochs']:.1f}"
        )
    for dataset, counts in plan.summary["datasets"].items():
        for reason, count in counts["excluded"].items():
            print(f"left out: {count:,} rows of {dataset}: {reason}")
        for change, count in counts["changed"].items():
            print(f"changed: {dataset}: {count:,} {change}")
    for missing in plan.summary["missing"]:
        print(f"missing: {missing}")
    print(f"total variation of the rates: {plan.summary['total_variation']:.4f}")


def packs_document(plan: Plan, step: int, slot: int | None) -> dict[str, Any]:
    """The rows of one pack of a step, or of all; ConfigError beyond the plan."""
    slots = range(plan.packs_per_step) if slot is None else [slot]
    if not (0 <= step < plan.steps and all(0 <= number < plan.packs_per_step for number in slots)):
        raise ConfigError(
            what=f"step {step}, slot {slot} of a plan with {plan.steps} x {plan.packs_per_step} packs",
            why="steps and slots are counted from 0",
            fix=f"name a step from 0 to {plan.steps - 1} and a slot from 0 to {plan.packs_per_step - 1}",
        )
    packs = [
        {
            "step": step,
            "slot": number,
            "rows": [{"dataset": row.dataset, "row": row.row, "epoch": row.epoch} for row in plan.pack(step, number)],
        }
        for number in slots
    ]
    return {"schema": "trackyard-plan-packs/1", "fingerprint": plan.fingerprint, "packs": packs}


def print_packs(document: dict[str, Any]) -> None:
    """What `packs_document` holds, a line per row."""
    for pack in document["packs"]:
        print(f"step {pack['step']}, slot {pack['slot']}: {len(pack['rows'])} rows")
        for row in pack["rows"]:
            print(f"  {row['dataset']:32} row {row['row']:>9,}  epoch {row['epoch']}")


def print_difference(a: Plan, b: Plan, found: Difference) -> None:
    """Every input, rate and total that differs, and where the packs part."""
    print(f"a: {_folder(a)}\nb: {_folder(b)}")
    for pair in found.inputs:
        print(f"input {pair.key}: {_short(pair.a)} -> {_short(pair.b)}")
    for pair in found.rates:
        if pair.a != pair.b:
            print(f"rate {pair.key}: {pair.a:.3%} -> {pair.b:.3%}")
    for pair in found.totals:
        if pair.a != pair.b:
            print(f"total {pair.key}: {_amount(pair.a)} -> {_amount(pair.b)}")
    print(f"{found.equal:,} of {found.compared:,} packs are equal, {found.share_equal:.1%} of the larger plan")
    if found.first is not None:
        print(f"the first that differs: step {found.first[0]}, slot {found.first[1]}")


def _short(value: Any) -> str:
    """A value as a person compares it: of a digest, the beginning."""
    text = str(value)
    return f"{text[:12]}…" if DIGEST.fullmatch(text) else text


def _amount(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _folder(plan: Plan) -> Path:
    """The folder of a plan as it is named from here."""
    here = Path.cwd()
    return plan.directory.relative_to(here) if plan.directory.is_relative_to(here) else plan.directory


def _per_step(plan: Plan) -> dict[str, dict[str, float]]:
    """Least, mean and most of every column of the table of steps, text tokens among them."""
    columns = {name: plan.step_table[:, number] for number, name in enumerate(STEP_COLUMNS)}
    columns = {"text_tokens": columns["tokens"] - columns["visual_tokens"]} | columns
    return {
        name: {"least": int(values.min()), "mean": float(values.mean()), "most": int(values.max())}
        for name, values in columns.items()
    }
