"""What the scripts of this folder share: arguments, the refusal without a GPU, the record and its table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gpu.device import device_of, facts, lacking
from benchmarks.harness import RESULTS, circumstances, write_record
from trackyard.errors import EXIT_ENVIRONMENT
from trackyard.train.flops import mfu, mfu_words

PACKAGES = ("torch", "transformers", "deepspeed")


@dataclass(frozen=True, kw_only=True)
class Given:
    """What was asked for. steps: timed steps of each contender, in `rounds` turns. eager: without torch.compile."""

    tiny: bool
    steps: int
    rounds: int
    eager: bool = False

    @property
    def compiled(self) -> bool:
        """Whether layers go through torch.compile; on a CPU it would take longer than all the rest."""
        return not self.tiny and not self.eager

    @property
    def per_round(self) -> int:
        """Steps of a turn."""
        return max(1, self.steps // self.rounds)


Workload = dict[str, Any]


def run(
    name: str,
    text: str | None,
    measure: Callable[[Given], list[Workload]],
    argv: Sequence[str] | None,
    *,
    steps: int,
    rounds: int = 5,
    packages: Sequence[str] = PACKAGES,
    claims_only: bool = False,
) -> int:
    """0 if all targets were reached and figures are steady, 1 if not, 3 without a GPU.

    With --tiny everything is done at sizes for a CPU: 0 if it works, nothing is judged, and nothing is recorded unless
    a file is named. claims_only: --tiny needs a GPU as well.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.gpu.{name}", description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiny", action="store_true", help="the same at sizes for a CPU, in seconds; claims nothing")
    parser.add_argument("--steps", type=int, default=steps, help="timed steps of each contender (default: %(default)s)")
    parser.add_argument("--eager", action="store_true", help="without torch.compile, which ours uses on a GPU")
    parser.add_argument("--out", type=Path, help=f"the record (default: {RESULTS.name}/{name}.json)")
    given = parser.parse_args(argv)
    # What is only a claim about a device has no tiny form.
    reason = None if given.tiny and not claims_only else lacking()
    if reason is not None:
        sys.stderr.write(reason + "\n")
        return EXIT_ENVIRONMENT
    circumstances(packages)  # fails now rather than after minutes, where a commit or a package is missing
    tiny = given.tiny
    workloads = measure(
        Given(tiny=tiny, steps=2 if tiny else given.steps, rounds=2 if tiny else rounds, eager=given.eager)
    )
    machine = facts(device_of(tiny))
    for workload in workloads:
        workload |= {"device": machine, "tiny": tiny, "compiled": not tiny and not given.eager}
        if tiny:
            workload["targets"] = []
    out = given.out or RESULTS / f"{name}.json"
    if tiny and given.out is None:
        print(f"{name}: works at tiny sizes; nothing is claimed and nothing recorded")
        return 0
    reached = write_record(out.stem, workloads, packages=packages, results=out.parent)
    for workload in workloads:
        for contender, figure in workload["figures"].items():
            print(f"  {workload['name']}, {contender}: {figure['extra'].get('summary', '')}")
    return 0 if reached or tiny else 1


def summary(rate: float, *, unit: str, flops_per_unit: float | None, device: str, peak_gb: float) -> dict[str, Any]:
    """Rate, MFU with the words of its convention, and memory: figures to record, and a line to read."""
    found: dict[str, Any] = {"peak_gb": peak_gb}
    words = f"{rate:,.1f} {unit}"
    if flops_per_unit is not None:
        found |= {"flops_per_unit": flops_per_unit, "convention": mfu_words(device)}
        share = mfu(rate * flops_per_unit, seconds=1.0, gpus=1, device=device)
        found["mfu"] = share
        words += f", {found['convention']}" if share is None else f", MFU {share:.1%} ({found['convention']})"
    return found | {"summary": f"{words}, peak memory {peak_gb:.1f} GB"}
