"""Ours beside its peers: child processes in turns, answers compared before anything counts, ratios of medians.

A contender is a command whose last line of output is that of `measured.report`. Source: performance spec section 10.1.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from trackyard.schema import write_document

SCHEMA = "trackyard-benchmark/1"
ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PEERS = ROOT / ".venv-peers" / "bin" / "python"
"""Interpreter of the environment that `make bench` makes from peers.txt."""
STEADY = 0.1
"""Interquartile range over median, at most: else the machine was busy with other things, and figures say little."""
TIMEOUT_S = 600

Metric = Literal["cpu_s", "wall_s"]
Agree = Callable[[Mapping[str, Any]], str | None]
"""Answers by contender -> what is unequal, or None."""
Report = Mapping[str, Any]
"""Of one round: units of work, cpu_s and wall_s that it took."""


class Unequal(SystemExit):
    """The contenders did not do the same work: no result."""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A child process. peer: it runs in the environment of the peers, and is missing without that."""

    name: str
    argv: Sequence[str]
    peer: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def interpreter(self) -> Path | None:
        """The Python it runs in; None where that is not there."""
        if not self.peer:
            return Path(sys.executable)
        return PEERS if PEERS.is_file() else None

    def run(self) -> dict[str, Any]:
        """Its report; SystemExit with its output if it fails."""
        python = self.interpreter
        assert python is not None, "missing contenders are left out before"
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}"} | self.environment
        done = subprocess.run(
            [str(python), *self.argv], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S
        )
        if done.returncode:
            sys.exit(f"{self.name} ended with exit code {done.returncode}:\n{done.stdout}{done.stderr}")
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found


@dataclass(frozen=True, kw_only=True)
class Target:
    """What ours shall reach: at least `ratio` times the rate of `peer`, or of the best peer where that is "best"."""

    peer: str
    ratio: float


def equal_answers(answers: Mapping[str, Any]) -> str | None:
    """Agreement of contenders whose answers must be the same value."""
    first, *others = answers.items()
    wrong = [name for name, answer in others if answer != first[1]]
    return f"{', '.join(wrong)} answered otherwise than {first[0]}" if wrong else None


def compare(
    contenders: Sequence[Contender], *, metric: Metric, agree: Agree = equal_answers, rounds: int = 5
) -> dict[str, Any]:
    """Figures by name: rate (units per second), its interquartile range, every round, and ours over each peer.

    The first contender is ours. Contenders take turns; the first round warms caches, compares answers and does not
    count. Raises Unequal if `agree` finds a difference.
    """
    present = [contender for contender in contenders if contender.interpreter is not None]
    first = {contender.name: contender.run() for contender in present}
    difference = agree({name: found["answer"] for name, found in first.items()})
    if difference:
        raise Unequal(f"unequal output, so nothing is timed: {difference}")
    reports: dict[str, list[dict[str, Any]]] = {contender.name: [] for contender in present}
    for _ in range(rounds):
        for contender in present:
            reports[contender.name].append(contender.run())
    extra = {name: found[-1]["extra"] for name, found in reports.items()}
    return with_missing(figures_of(reports, metric=metric, extra=extra), contenders)


def figures_of(
    reports: Mapping[str, Sequence[Report]], *, metric: Metric, extra: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Figures as `compare` gives them, from the reports of all rounds; the first name is ours."""
    figures: dict[str, Any] = {}
    for name, found in reports.items():
        rates = [one["units"] / one[metric] for one in found]
        low, _, high = statistics.quantiles(rates, n=4, method="inclusive")
        middle = statistics.median(rates)
        figures[name] = {
            "rate": middle,
            "iqr": high - low,
            "steady": high - low <= STEADY * middle,
            "rounds": [{key: one[key] for key in one if key not in ("answer", "extra")} for one in found],
            "extra": (extra or {}).get(name, {}),
        }
    ours = next(iter(figures))
    for name, figure in figures.items():
        if name != ours:
            figure["ours_over_it"] = figures[ours]["rate"] / figure["rate"]
    return figures


def with_missing(figures: dict[str, Any], contenders: Sequence[Contender]) -> dict[str, Any]:
    """The same with a line for every contender whose environment is absent."""
    why = f"{PEERS.relative_to(ROOT)} is absent: `make bench` makes it"
    return figures | {one.name: {"missing": why} for one in contenders if one.interpreter is None}


def judge(figures: Mapping[str, Any], targets: Sequence[Target]) -> list[dict[str, Any]]:
    """Every target with the ratio found and a verdict: reached, missed, or not measured for want of the peer."""
    ratios = {name: found["ours_over_it"] for name, found in figures.items() if "ours_over_it" in found}
    verdicts = []
    for target in targets:
        found = min(ratios.values(), default=None) if target.peer == "best" else ratios.get(target.peer)
        verdict = "not measured: the peer is missing" if found is None else "missed"
        if found is not None and found >= target.ratio:
            verdict = "reached"
        verdicts.append({"peer": target.peer, "target": target.ratio, "ratio": found, "verdict": verdict})
    return verdicts


def circumstances(packages: Sequence[str]) -> dict[str, Any]:
    """Commit, machine and versions of a record."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return {
        # A machine that is given the working tree alone is told its commit.
        "commit": os.environ.get("TRACKYARD_COMMIT") or git("rev-parse", "HEAD"),
        "uncommitted_changes": (ROOT / ".git").exists()
        and bool(git("status", "--porcelain", "--", "src", "benchmarks/*.py")),
        "machine": {
            "cpu": next(line.split(":")[1].strip() for line in lines if line.startswith("model name")),
            "cores": len(os.sched_getaffinity(0)),
            "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
            "kernel": platform.release(),
            "page_cache": "warm",
        },
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
    }


def peer_versions(packages: Sequence[str]) -> dict[str, str]:
    """Versions of packages in the environment of the peers; empty without it."""
    if not PEERS.is_file():
        return {}
    code = (
        "import json, sys; from importlib.metadata import version; "
        "print(json.dumps([version(name) for name in sys.argv[1:]]))"
    )
    done = subprocess.run([str(PEERS), "-c", code, *packages], capture_output=True, text=True, check=True)
    return dict(zip(packages, json.loads(done.stdout), strict=True))


def write_record(
    benchmark: str,
    workloads: Sequence[Mapping[str, Any]],
    *,
    packages: Sequence[str] = (),
    peers: Sequence[str] = (),
    results: Path = RESULTS,
) -> bool:
    """Write `results`/<benchmark>.json and print it in short; returns whether all is steady and every target reached.

    workloads: mappings with `name`, `unit`, `figures` (of `compare`), `targets` (of `judge`), and anything else.
    """
    steady = all(found.get("steady", True) for one in workloads for found in one["figures"].values())
    verdicts = [verdict for one in workloads for verdict in one["targets"]]
    reached = bool(verdicts) and all(verdict["verdict"] == "reached" for verdict in verdicts)
    verdict = ("reached" if reached else "missed") if steady else "unsteady: the machine did other things as well"
    body = {
        "benchmark": benchmark,
        "verdict": verdict,
        **circumstances(packages),
        "peers": peer_versions(peers),
        "workloads": list(workloads),
    }
    write_document(results / f"{benchmark}.json", SCHEMA, json.loads(json.dumps(body)))
    for one in workloads:
        print(f"\n{benchmark}: {one['name']}")
        for name, found in one["figures"].items():
            if "missing" in found:
                print(f"  {name:32} missing: {found['missing']}")
                continue
            ratio = f"  ours over it {found['ours_over_it']:8.2f}x" if "ours_over_it" in found else ""
            print(f"  {name:32} {found['rate']:14,.1f} {one['unit']}  IQR {found['iqr'] / found['rate']:5.1%}{ratio}")
        for target in one["targets"]:
            ratio = "none" if target["ratio"] is None else f"{target['ratio']:.2f}x"
            print(f"  target {target['target']}x of {target['peer']}: {ratio}, {target['verdict']}")
    print(f"{benchmark}: {verdict}")
    return steady and reached
