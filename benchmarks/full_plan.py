"""A plan at the scale of the real corpus: 104 datasets, 9.3 million rows, 30,000 steps of 128 packs.

    python -m benchmarks.full_plan                  # about a minute on 2 cores, 200 MB of disk
    python -m benchmarks.full_plan --scale 0.01     # the same in small: does it run?

Lengths are drawn as in the seeded trace, group by group of datasets; groups have the weights of stage 2, and inside a
group rates follow the square root of the rows. Nothing is compared with a peer: the targets are limits. The plan is
built once, since one build takes long; a second process opens it, with all digests verified, and reads single packs,
again and again, of which medians count; a third looks at every row: budgets, repetitions, and how far the share of a
group in 100 steps lies from its rate. Source: molmo2 spec sections 4.5 and 9; performance spec section 10.4.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Contender, Unequal, write_record
from benchmarks.limits import at_least, at_most
from benchmarks.measured import report, resident_bytes
from benchmarks.row_trace import INPUTS, SEED, TOKENS, row_trace

DATASETS, ROWS, STEPS, PACKS = 104, 9_300_000, 30_000, 128
WEIGHTS = (0.1364, 0.1818, 0.2273, 0.1364, 0.1364, 0.0909, 0.0905, 0.0005)
"""Of the groups, as in the report's stage 2. Source: molmo2 spec section 4.3."""
OPENED, READ = 21, 2_000
"""Times that the plan is opened; packs that are read at random."""
BLOCK = 100
"""Steps over which a group's share of rows is compared with its rate."""


def inputs_of(scale: float) -> Any:
    """The inputs of the plan; scale: of rows and steps."""
    from trackyard.plan.build import DatasetInput, PlanInputs
    from trackyard.plan.mixture import MixtureParameters
    from trackyard.plan.packing import Budget

    random = np.random.default_rng(SEED)
    sizes = np.exp(random.uniform(np.log(2e3), np.log(1e6), DATASETS))
    sizes = np.maximum(sizes * (scale * ROWS / sizes.sum()), 16).astype(np.int64)
    datasets = {}
    for number, size in enumerate(sizes.tolist()):
        tokens, inputs, _ = row_trace(size, random)
        datasets[f"set-{number:03}"] = DatasetInput(
            manifest_fingerprint=f"manifest of {number}",
            index_fingerprint=f"index of {number}",
            rows=np.arange(size),
            tokens=tokens.astype(np.int32),
            visual=(tokens // 2).astype(np.int32),
            inputs=inputs.astype(np.int32),
            labels=(tokens // 8).astype(np.int32),
            excluded={},
        )
    names = list(datasets)
    groups = {
        f"group-{number}": {"weight": weight, "entries": [{"dataset": name} for name in names[number :: len(WEIGHTS)]]}
        for number, weight in enumerate(WEIGHTS)
    }
    return PlanInputs(
        datasets=datasets,
        mixture=MixtureParameters.model_validate({"kind": "hierarchical", "groups": groups}),
        budget=Budget(tokens=TOKENS, inputs=INPUTS),
        packs_per_step=PACKS,
        steps=max(int(scale * STEPS), 1),
        seed=SEED,
    )


def build(scale: float, scratch: Path) -> None:
    """Child: build the plan in `scratch`."""
    from trackyard.plan.build import build_plan

    inputs = inputs_of(scale)

    def work() -> tuple[float, Any]:
        plan = build_plan(inputs=inputs, cache=scratch)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return len(plan.rows), {"totals": plan.summary["totals"], "peak_bytes": peak}

    report(work)


def read(scratch: Path) -> None:
    """Child: open the plan of `scratch` and read packs from it, as a process that feeds a model does."""
    from trackyard.plan.plan import Plan

    (directory,) = (path.parent for path in scratch.glob("*/plan.json"))
    before = resident_bytes()

    def work() -> tuple[float, Any]:
        opened, packs = [], []
        for _ in range(OPENED):
            started = time.perf_counter()
            plan = Plan.open(directory)
            opened.append(time.perf_counter() - started)
        grown = resident_bytes() - before
        random = np.random.default_rng(SEED)
        for number in random.integers(0, plan.steps * PACKS, READ).tolist():
            started = time.perf_counter()
            plan.pack(*divmod(number, PACKS))
            packs.append(time.perf_counter() - started)
        return READ, {
            "open_s": statistics.median(opened),
            "seek_s": statistics.median(packs),
            "slowest_seek_s": max(packs),
            "opened_bytes": grown,
            # Pages of the plan's files, which the kernel shares among processes and takes back when it needs room.
            "bytes_with_packs_read": resident_bytes() - before,
            "bytes_on_disk": sum(path.stat().st_size for path in directory.iterdir()),
        }

    report(work)


def examine(scale: float, scratch: Path) -> None:
    """Child: look at every row of the plan again: what is wrong with it, and how far groups stray from their rates."""
    from trackyard.plan.plan import Plan

    inputs = inputs_of(scale)
    (directory,) = (path.parent for path in scratch.glob("*/plan.json"))
    plan = Plan.open(directory)
    columns = [inputs.datasets[name] for name in plan.datasets]
    first = np.cumsum([0, *(len(data.rows) for data in columns)])
    tokens, crops = (np.concatenate([getattr(data, name) for data in columns]) for name in ("tokens", "inputs"))
    times, epochs = np.zeros(first[-1], np.int64), np.zeros(first[-1], np.int64)
    group_of = {entry["dataset"]: int(entry["group"].split("-")[1]) for entry in plan.summary["entries"]}
    groups = np.array([group_of[name] for name in plan.datasets])
    rates = np.bincount(
        [group_of[entry["dataset"]] for entry in plan.summary["entries"]],
        [entry["rate"] for entry in plan.summary["entries"]],
    )

    def work() -> tuple[float, Any]:
        over, stray = 0, 0.0
        for step in range(0, plan.steps, BLOCK):
            ends = plan.offsets[step * PACKS : min(step + BLOCK, plan.steps) * PACKS + 1].astype(np.int64)
            dataset, row, epoch = plan.rows_between(int(ends[0]), int(ends[-1]))
            number = first[dataset] + row
            np.add.at(times, number, 1)
            np.add.at(epochs, number, epoch)
            sums = [np.add.reduceat(column[number], ends[:-1] - ends[0]) for column in (tokens, crops)]
            over += int(((sums[0] > TOKENS) | (sums[1] > INPUTS)).sum()) + int((np.diff(ends) < 1).sum())
            share = np.bincount(groups[dataset], minlength=len(rates)) / len(dataset)
            stray = max(stray, float(np.abs(share - rates).max()))
        # A row drawn k times comes once in each of the first k epochs, and no row is an epoch ahead of another.
        repeated = int((epochs != times * (times - 1) // 2).sum())
        spread = max(int(np.ptp(times[low:high])) for low, high in pairwise(first))
        times[np.argmax(times)] += 1  # the control: a row that is there once more must be noticed
        noticed = int((epochs != times * (times - 1) // 2).sum()) != repeated
        return len(plan.rows), {
            "over": over, "repeated": repeated, "spread": spread, "stray": stray, "noticed": noticed
        }  # fmt: skip

    report(work)


def child(scratch: Path, kind: str, scale: float) -> dict[str, Any]:
    argv = [__file__, "--child", kind, "--scratch", str(scratch), "--scale", str(scale)]
    return Contender(name=kind, argv=argv).run()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--scratch", type=Path, help="folder for the plan; a temporary one by default")
    parser.add_argument("--child", choices=["build", "read", "examine"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child == "build":
        build(given.scale, given.scratch)
    elif given.child == "read":
        read(given.scratch)
    elif given.child == "examine":
        examine(given.scale, given.scratch)
    if given.child:
        return 0
    with tempfile.TemporaryDirectory(dir=given.scratch) as scratch:
        built, reader, seen = (child(Path(scratch), kind, given.scale) for kind in ("build", "read", "examine"))
    found, opened, answer = built["answer"], reader["answer"], seen["answer"]
    if answer["over"] or answer["repeated"] or answer["spread"] > 1:
        raise Unequal(f"the plan is wrong: {answer}")
    if not answer["noticed"]:
        raise Unequal("a row that came once more was not noticed: the examination proves nothing")
    targets = [
        at_most("5 minutes to build", 300.0, built["wall_s"]),
        at_most("2 GB at the peak", 2e9, found["peak_bytes"]),
        at_most("50 ms to open, digests verified", 0.05, opened["open_s"]),
        at_most("1 ms to any pack", 0.001, opened["seek_s"]),
        at_least("97 % of the bound", 0.97, found["totals"]["share_of_bound"]),
    ]
    figure = {
        "rate": built["units"] / built["cpu_s"], "iqr": 0.0, "extra": found | opened | answer,
        "rounds": [{key: built[key] for key in ("units", "cpu_s", "wall_s")}],
    }  # fmt: skip
    name = f"{DATASETS} datasets, {given.scale * ROWS:,.0f} rows, {max(int(given.scale * STEPS), 1):,} steps"
    workload = {"name": name, "unit": "rows/cpu-s", "figures": {"trackyard": figure}, "targets": targets}
    return 0 if write_record("full_plan", [workload], packages=["numba", "numpy"]) else 1


if __name__ == "__main__":
    sys.exit(main())
