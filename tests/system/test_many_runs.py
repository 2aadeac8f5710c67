"""5,000 runs of 200 metrics each: the table of the track within 10 s and 1 GB, from nothing but their files.

By the clock where the machine has a core to spare. Where it has none, others' work would be measured, and the 10 s are
of processor time: what the clock shows on an idle machine, since one process does it all and the files are in memory.
Others can only make it longer, so that the quickest of a few rounds is what the table takes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.compare_runs import METRICS, RUNS, make_runs, means, spec_of, value_of

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 5
MOST_S, MOST_BYTES = 10.0, 10**9


@pytest.mark.system
def test_the_table_of_5000_runs_takes_10_s_and_1_gb_at_most(tmp_path: Path) -> None:
    assert (RUNS, METRICS) == (5_000, 200)
    make_runs(tmp_path / "runs")
    (tmp_path / "params.yaml").write_text("{}")
    expected = means((spec_of(number)["parameters"]["learning_rate"], value_of(number, 0)) for number in range(RUNS))
    seconds: list[float] = []
    while len(seconds) < ROUNDS and min(seconds, default=MOST_S) >= MOST_S:
        spare = os.getloadavg()[0] < len(os.sched_getaffinity(0))
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.compare_runs", "--folder", str(tmp_path), "--child", "ours"],
            cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        report = json.loads(done.stdout.splitlines()[-1])
        assert report["answer"] == expected
        seconds.append(report["wall_s" if spare else "cpu_s"])
        print(
            f"{report['wall_s']:.1f} s by the clock, {report['cpu_s']:.1f} s of processor time, "
            f"{report['extra']['peak_rss_bytes'] / 1e6:.0f} MB"
        )
        assert report["extra"]["peak_rss_bytes"] < MOST_BYTES
    assert min(seconds) < MOST_S, seconds
