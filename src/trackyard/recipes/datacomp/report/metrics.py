"""What was measured of a trained run, among its own curves, so that MLflow compares runs.

A run has the scores of every arm that uses its weights.
"""

from __future__ import annotations

from trackyard.recipes.datacomp.cells import ARMS, Cell
from trackyard.recipes.datacomp.report.gathering import TRAIN, Gathered
from trackyard.recipes.datacomp.report.table import HEADLINE
from trackyard.recipes.datacomp.study import TRACK, Study
from trackyard.recipes.reporting.outcomes import record_outcome

KIND = "eval"


def cell_metrics(study: Study, gathered: Gathered, cell: Cell) -> dict[str, float]:
    """Numbers of one trained run, as MLflow shows them: eval/<arm>/<set>/<metric>."""
    parameters = study.parameters
    found = {}
    for arm in parameters.arms:
        if ARMS[arm].run != cell.name:
            continue
        label = Cell(name=arm, seed=cell.seed).label
        for name in parameters.evaluation.sets:
            body = gathered.evaluated(name)[label].body
            found[f"{KIND}/{arm}/{name}/{HEADLINE[name]}"] = float(body[HEADLINE[name]])
            if "nll_per_token" in body:
                found[f"{KIND}/{arm}/{name}/nll_per_token"] = float(body["nll_per_token"])
    return found


def record_metrics(study: Study, gathered: Gathered) -> tuple[int, list[str]]:
    """Spool the numbers of every trained run. How many have them, and the cells whose run is not on this machine."""
    recorded, absent = 0, []
    for label, cell in study.parameters.trained_cells.items():
        values = cell_metrics(study, gathered, cell)
        path = study.runs / TRACK / "train" / gathered.cells[TRAIN][label].header.run_id
        if not path.is_dir():
            absent.append(label)
        elif values:
            record_outcome(path, values, mark=min(values))
            recorded += 1
    return recorded, absent
