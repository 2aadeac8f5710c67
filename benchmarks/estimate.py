"""Predicted against measured: seconds of a step and peak memory of the mini stages, one process, one thread.

    python -m benchmarks.estimate

Each stage of the mini profile is trained for a few steps by the project's own loop in a process of its own, on the plan
of that stage, from random weights (a later stage costs the same from any). CPU seconds of a step are what is recorded,
so that other work on the machine counts little. The measurements are what `trackyard estimate` predicts from. Every
stage is then predicted from the other stages alone: within 25 % for time and for memory. Negative control: the memory
of twice the micro-batch must not meet the measurement. Source: issue of the estimate, performance spec section 10.1.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import RESULTS, ROOT, SCHEMA, circumstances
from trackyard.digest import short
from trackyard.estimate import calibration
from trackyard.estimate.calibration import Case, Error, Measured
from trackyard.estimate.devices import DEVICES
from trackyard.estimate.forecast import Machine, predict
from trackyard.estimate.workload import Lengths
from trackyard.launch.sites import load_site
from trackyard.recipes.stages import rebuild
from trackyard.schema import write_document

PROFILE, DEVICE = "mini", DEVICES["cpu"]
STEPS = {"stage1": 24, "stage2": 24, "stage3": 10}
WARM = 2
"""First steps, which set up what later ones use."""
WITHIN = 0.25
SPREAD = 0.3
"""Interquartile range over median of a stage's steps, at most: they differ in what they hold, but not by more."""
TOTALS = ("steps", "tokens", "visual_tokens", "inputs", "label_tokens", "rows")


def child(stage: str, steps: int) -> None:
    """Train some steps, and print what they took as a line of JSON."""
    from trackyard.errors import StoppedEarly
    from trackyard.recipes.molmo2 import prepare as preparing
    from trackyard.recipes.molmo2.parameters import load_molmo2
    from trackyard.recipes.molmo2.start import prepare_start
    from trackyard.recipes.molmo2.training import Molmo2Job
    from trackyard.recipes.running.training import train
    from trackyard.record.rundir import open_or_create

    # A later stage wants the export of the one before; weights of another value take the same time and room.
    preparing.prepare_start = lambda parameters, _, root, datasets: prepare_start(parameters, "stage1", root, datasets)
    prepared = preparing.prepare(load_molmo2(ROOT / "profiles" / f"{PROFILE}.yaml"), stage, ROOT)  # type: ignore[arg-type]
    marks: list[float] = []
    with tempfile.TemporaryDirectory() as scratch, contextlib.suppress(StoppedEarly):
        directory = open_or_create(Path(scratch) / "runs", prepared.spec)
        train(
            Molmo2Job(prepared),
            directory,
            directory.new_attempt(),
            should_stop=lambda: len(marks) >= steps,
            progress=lambda _: marks.append(time.process_time()),
            say=lambda _: None,
        )
    spent = [after - before for before, after in itertools.pairwise(marks)][WARM:]
    totals = {name: prepared.plan.summary["totals"][name] for name in TOTALS}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"spent": spent, "peak": peak, "totals": totals, "plan": prepared.plan.fingerprint}))


def measure(stage: str, steps: int) -> dict[str, Any]:
    """A child's report. SystemExit with its output if it fails."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.estimate", "--child", stage, "--steps", str(steps)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    if done.returncode:
        sys.exit(f"{stage} ended with exit code {done.returncode}:\n{done.stdout}{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def recorded(stage: str, found: Mapping[str, Any], commit: str) -> Measured:
    """What the record keeps of a child's report."""
    lengths = Lengths.of_totals(found["totals"], source=f"plan {short(found['plan'])}")
    step_s = statistics.median(found["spent"])
    return Measured(
        device=DEVICE.name,
        track="molmo2",
        stage=stage,
        profile=PROFILE,
        preset="",
        world=1,
        engine={},
        lengths=lengths,
        steps=len(found["spent"]),
        step_s=step_s,
        tokens_per_s=lengths.tokens / step_s,
        peak_bytes=found["peak"],
        commit=commit,
    )


def control(cases: Sequence[Case], machine: Machine) -> list[float]:
    """Errors in memory of predictions that are for twice the micro-batch, which a good prediction must not meet."""
    found = []
    for case in cases:
        twice = case.work.changed(micro_batch=case.work.engine.micro_batch * 2)
        others = [other for other in cases if other is not case]
        _, peak = predict(twice, machine, calibration.calibrate(case.work, DEVICE, others))
        found.append(peak / case.measured.peak_bytes - 1)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--child", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, help="steps of each stage, instead of those that give a steady median")
    parser.add_argument("--scratch", type=Path, help="where the record and the measurements go instead")
    given = parser.parse_args()
    if given.child:
        child(given.child, given.steps)
        return 0
    facts = circumstances(["torch", "transformers", "deepspeed"])
    measured, spreads = [], []
    for stage, steps in STEPS.items():
        found = measure(stage, given.steps or steps)
        low, middle, high = statistics.quantiles(found["spent"], n=4, method="inclusive")
        spreads.append((high - low) / middle)
        measured.append(recorded(stage, found, facts["commit"]))
    _keep(measured, ROOT / calibration.FILE if given.scratch is None else given.scratch / calibration.FILE.name)
    machine = Machine(site=load_site("local", ROOT), partition_name="here", device=DEVICE)
    cases = calibration.cases_of(measured, DEVICE, lambda one: rebuild(one, ROOT, DEVICE))
    errors = calibration.errors(DEVICE, cases, lambda work, found: predict(work, machine, found))
    twice = control(cases, machine)
    verdict = _verdict(errors, spreads, twice)
    body = {
        "benchmark": "estimate",
        "verdict": verdict,
        **facts,
        "within": WITHIN,
        "errors": [{"case": error.case, "time": error.time, "memory": error.memory} for error in errors],
        "spreads": spreads,
        "negative_control": {"what": "memory of twice the micro-batch", "errors": twice},
    }
    write_document((given.scratch or RESULTS) / "estimate.json", SCHEMA, body)
    for one, error in zip(measured, errors, strict=True):
        print(f"  {one.name:32} {one.step_s:.3f} cpu-s a step, peak {one.peak_bytes / 1e6:,.0f} MB", end="")
        print(f"   predicted from the others: time {error.time:+.1%}, memory {error.memory:+.1%}")
    print(f"  twice the micro-batch, memory: {', '.join(f'{error:+.1%}' for error in twice)}")
    print(f"estimate: {verdict}")
    return 0 if verdict == "reached" else 1


def _keep(measured: Sequence[Measured], path: Path) -> None:
    """Write the measurements; runs on other devices and of other profiles stay as they were recorded."""
    others = [one for one in calibration.read_measurements(path) if (one.device, one.profile) != (DEVICE.name, PROFILE)]
    runs = [calibration.as_record(one) for one in (*measured, *others)]
    write_document(path, calibration.SCHEMA, {"runs": runs})


def _verdict(errors: Sequence[Error], spreads: Sequence[float], twice: Sequence[float]) -> str:
    if max(spreads) > SPREAD:
        return "unsteady: the machine did other things as well"
    near = all(max(abs(error.time), abs(error.memory)) <= WITHIN for error in errors)
    return "reached" if near and max(twice) > WITHIN else "missed"


if __name__ == "__main__":
    sys.exit(main())
