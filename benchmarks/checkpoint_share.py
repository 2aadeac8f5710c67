"""What checkpoints cost a run at its profile's cadence: `python -m benchmarks.checkpoint_share`.

Stage 1 of the mini profile, whole, in a process of its own, one thread; the share of wall time in which training stood
still for a save, of two runs. Target: under 1 %. Negative control: saving after every step must cost more.
Source: issue of the training engine; performance spec section 9.2.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.harness import RESULTS, ROOT, SCHEMA, circumstances
from trackyard.schema import write_document

RUNS, TARGET = 2, 0.01
STAGE = "stage1"
SHOWS = 10
"""How many times the share a save after every step must have."""


def child(steps: int, save_every: int) -> None:
    """Train, and print seconds of all steps and those spent saving as a line of JSON."""
    from trackyard.recipes.molmo2.parameters import load_molmo2
    from trackyard.recipes.molmo2.prepare import prepare
    from trackyard.recipes.molmo2.training import Molmo2Job
    from trackyard.recipes.running.training import train
    from trackyard.record.rundir import open_or_create
    from trackyard.record.spool import read_spool

    parameters = load_molmo2(ROOT / "profiles" / "mini.yaml")
    stage = parameters.stage1.model_copy(
        update={"steps": steps or parameters.stage1.steps, "save_every": save_every or parameters.stage1.save_every}
    )
    prepared = prepare(parameters.model_copy(update={STAGE: stage}), STAGE, ROOT)
    with tempfile.TemporaryDirectory() as scratch:
        directory = open_or_create(Path(scratch) / "runs", prepared.spec)
        train(
            Molmo2Job(prepared),
            directory,
            directory.new_attempt(),
            should_stop=lambda: False,
            progress=lambda _: None,
            say=lambda _: None,
        )
        points = [
            event["values"]
            for path in directory.spool.glob("attempt-*.jsonl")
            for _, event in read_spool(path).events
            if event["event"] == "metrics" and "usage/seconds_per_step" in event["values"]
        ]
    # The first step holds the start, and is left out as in any rate.
    total = sum(point["usage/seconds_per_step"] for point in points[1:])
    stalled = sum(point["usage/checkpoint_stall_seconds"] for point in points)
    print(json.dumps({"steps": len(points), "seconds": total, "stalled": stalled}))


def measure(steps: int = 0, save_every: int = 0) -> dict[str, Any]:
    """A child's report and the share. SystemExit with its output if it fails."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.checkpoint_share", "--child"),
            *("--steps", str(steps), "--save-every", str(save_every)),
        ],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    if done.returncode:
        sys.exit(f"the run ended with exit code {done.returncode}:\n{done.stdout}{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found | {"share": found["stalled"] / found["seconds"]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, default=0, help="of each run, instead of the profile's")
    parser.add_argument("--save-every", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--runs", type=int, default=RUNS)
    given = parser.parse_args()
    if given.child:
        child(given.steps, given.save_every)
        return 0
    runs = [measure(given.steps) for _ in range(given.runs)]
    often = measure(40, 1)
    share = statistics.median(run["share"] for run in runs)
    if often["share"] < SHOWS * share:
        sys.exit(f"saves after every step take {often['share']:.3%}, as scheduled {share:.3%}: they do not show")
    verdict = "reached" if share < TARGET else "missed"
    body = {
        "benchmark": "checkpoint_share",
        "verdict": verdict,
        **circumstances(["torch", "deepspeed"]),
        "target": TARGET,
        "share": share,
        "runs": runs,
        "negative_control": {"what": "a save after every step", **often},
    }
    write_document(RESULTS / "checkpoint_share.json", SCHEMA, body)
    print(f"  share of wall time spent saving: {share:.2%} (under {TARGET:.0%}); after every step {often['share']:.1%}")
    print(f"checkpoint_share: {verdict}")
    return 0 if verdict == "reached" else 1


if __name__ == "__main__":
    sys.exit(main())
