"""The verdict of the estimate's benchmark: near, far, unsteady, and a control that must be noticed."""

from __future__ import annotations

from pathlib import Path

from benchmarks.estimate import WITHIN, _keep, _verdict, control
from tests.estimate.world import CPU, cases, machine, recorded
from trackyard.estimate.calibration import Error, read_measurements

NEAR = [Error(case="a", time=0.2, memory=-0.1)]


def test_verdicts() -> None:
    assert _verdict(NEAR, [0.1], [0.3]) == "reached"
    assert _verdict([*NEAR, Error(case="b", time=0.0, memory=-0.26)], [0.1], [0.3]) == "missed"
    assert _verdict([*NEAR, Error(case="b", time=0.3, memory=0.0)], [0.1], [0.3]) == "missed"
    assert _verdict(NEAR, [0.1], [0.2]) == "missed", "the control was not noticed"
    assert _verdict(NEAR, [0.1, 0.4], [0.3]).startswith("unsteady")


def test_the_control_is_noticed_on_recorded_runs() -> None:
    assert max(control(cases(), machine(CPU))) > WITHIN


def test_measurements_of_other_devices_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "measurements.json"
    mini = recorded()
    other = [type(one)(**{field: getattr(one, field) for field in one.__slots__} | {"device": "h100"}) for one in mini]
    _keep(other[:1], path)
    _keep(mini, path)
    _keep(mini, path)
    assert read_measurements(path) == [*mini, other[0]]
