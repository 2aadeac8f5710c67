"""Predictions of the recorded mini runs, each from the others, and what must not be predicted well."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.estimate.world import CPU, cases, machine, recorded
from trackyard.errors import DataError
from trackyard.estimate.calibration import SCHEMA, as_record, calibrate, errors, read_measurements
from trackyard.estimate.devices import DEVICES
from trackyard.estimate.forecast import predict
from trackyard.schema import write_document

HERE = machine(CPU)
WITHIN = 0.25


def test_each_mini_run_is_predicted_from_the_others() -> None:
    found = errors(CPU, cases(), lambda work, calibration: predict(work, HERE, calibration))
    assert len(found) == 3
    for error in found:
        assert abs(error.time) < WITHIN, error
        assert abs(error.memory) < WITHIN, error


def test_the_error_notices_a_run_that_took_three_times_as_long() -> None:
    first, *others = cases()
    slow = replace(first, measured=replace(first.measured, step_s=3 * first.measured.step_s))
    found = errors(CPU, [slow, *others], lambda work, calibration: predict(work, HERE, calibration))
    assert found[0].time < -WITHIN


def test_the_error_notices_memory_that_is_not_there() -> None:
    known = cases()
    last = known[-1]
    twice = last.work.changed(micro_batch=8)
    _, peak = predict(twice, HERE, calibrate(last.work, CPU, known[:-1]))
    assert peak / last.measured.peak_bytes - 1 > WITHIN


def test_a_recorded_run_is_its_own_nearest_case() -> None:
    known = cases()
    for case in known:
        seconds, _ = predict(case.work, HERE, calibrate(case.work, CPU, known))
        assert seconds == pytest.approx(case.measured.step_s)


def test_without_a_record_the_device_speaks_for_itself() -> None:
    found = calibrate(cases()[0].work, DEVICES["h100"], [])
    assert found.rate == 0.38 * 989e12
    assert found.source == "no run on h100 is recorded: 38% of the nominal peak are assumed"


def test_measurements_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "measurements.json"
    assert read_measurements(path) == []
    write_document(path, SCHEMA, {"runs": [as_record(one) for one in recorded()]})
    assert read_measurements(path) == recorded()


def test_a_measurement_without_its_circumstances_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "measurements.json"
    lacking = as_record(recorded()[0])
    del lacking["lengths"]["tokens"]
    write_document(path, SCHEMA, {"runs": [lacking]})
    with pytest.raises(DataError, match="tokens"):
        read_measurements(path)
