"""`trackyard estimate TRACK study`: all jobs of a track, its traffic and its storage, before anything is started."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackyard.cli.printing import print_json

if TYPE_CHECKING:
    from trackyard.estimate.calibration import Calibration
    from trackyard.estimate.forecast import Machine
    from trackyard.recipes.stages import Asked

_Shown = tuple[bool, list[str], dict[str, Any]]
"""Whether it fits, its lines, and the document."""


def print_study(asked: Asked, root: Path, machine: Machine, calibration: Calibration, *, as_json: bool) -> bool:
    """Print the estimate of all jobs; whether they fit."""
    show = _pile_ffn if asked.track == "pile_ffn" else _datacomp
    fits, lines, document = show(asked, root, machine, calibration)
    if as_json:
        print_json(document)
    else:
        print("\n".join(lines))
    return fits


def _pile_ffn(asked: Asked, root: Path, machine: Machine, calibration: Calibration) -> _Shown:
    from trackyard.recipes.pile_ffn.cost.estimating import SCHEMA, estimate_study
    from trackyard.recipes.pile_ffn.cost.lines import lines, to_json
    from trackyard.recipes.pile_ffn.parameters import load_pile_ffn

    parameters = load_pile_ffn(asked.profile, base=asked.base)
    if asked.world is not None:
        parameters = parameters.model_copy(update={"processes": asked.world})
    found = estimate_study(parameters, machine, calibration)
    return found.fits, lines(found), {"schema": SCHEMA} | to_json(found)


def _datacomp(asked: Asked, root: Path, machine: Machine, calibration: Calibration) -> _Shown:
    from trackyard.recipes.datacomp.cost.estimating import SCHEMA, estimate_study
    from trackyard.recipes.datacomp.cost.lines import lines, to_json
    from trackyard.recipes.datacomp.cost.planning import measured
    from trackyard.recipes.datacomp.parameters import load_datacomp
    from trackyard.recipes.datacomp.study import Study

    parameters = load_datacomp(asked.profile, base=asked.base)
    if asked.world is not None:
        parameters = parameters.model_copy(update={"processes": asked.world})
    pace = measured(Study(root=root, parameters=parameters), machine.device)
    found = estimate_study(parameters, machine, calibration, pace)
    return found.fits, lines(found), {"schema": SCHEMA} | to_json(found)
