"""What was measured of a trained cell, among the curves of its training run, so that MLflow compares arms.

A repeated aggregation adds nothing. Numbers that were measured anew stand beside the earlier ones, one step further:
a point that was delivered once is never changed (`trackyard.record.points`).
"""

from __future__ import annotations

from trackyard.recipes.pile_ffn.report.gathering import ATTACKS, Gathered
from trackyard.recipes.pile_ffn.report.table import measures
from trackyard.recipes.pile_ffn.study import TRACK, Study
from trackyard.recipes.reporting.outcomes import record_outcome

MARK = "test/nll"
"""Only the outcome of a study has it: a spool with it holds one."""


def cell_metrics(gathered: Gathered, name: str) -> dict[str, float]:
    """Numbers of one cell, as MLflow shows them."""
    perplexity = gathered.results["eval_ppl"][name].body
    found = {f"test/{key}": float(perplexity[key]) for key in ("nll", "ppl", "bpb")}
    for task, measure in measures(gathered.results["eval_bench"][name]).items():
        found[f"bench/{task}"] = measure.value
    for stage in ATTACKS:
        for attack, block in gathered.results[stage][name].body["attacks"].items():
            found[f"attack/{attack}/delta_nats"] = float(block["mean_delta_nats"])
    return found


def record_metrics(study: Study, gathered: Gathered) -> tuple[int, list[str]]:
    """Spool the numbers of every trained cell into its training run.

    Returns how many runs have them, and the cells whose run directory is not on this machine.
    """
    recorded, absent = 0, []
    for name, result in gathered.results["train"].items():
        path = study.runs / TRACK / "train" / result.header.run_id
        if not path.is_dir():
            absent.append(name)
            continue
        record_outcome(path, cell_metrics(gathered, name), mark=MARK)
        recorded += 1
    return recorded, absent
