"""Drawing from 120 datasets at square-root rates, side by side with drawing one row at a time.

    python -m benchmarks.mixture

Ours draws in closed form: entry and row of any block of draws, without state. Peers: one weighted draw at a time with
NumPy, from a shuffled order of every dataset; and `interleave_datasets` of Hugging Face, which draws the dataset only.
Before anything is timed, counts are compared with the rates: ours must keep the documented bound, peers that draw at
random must lie within six standard deviations; nothing may come twice within an epoch. Recorded besides: memory that
ours adds to its imports, seconds to draw 10^8, and how far its counts stray. Source: performance spec 8.7, 10.1 and B8.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Contender, Target, Unequal, compare, judge, write_record
from benchmarks.limits import at_most
from benchmarks.measured import report, resident_bytes
from benchmarks.mixture_peer import DRAWS as PEER_DRAWS
from benchmarks.mixture_peer import PEERS, SEED, mixture_sizes, square_root_rates

DRAWS = 1 << 22
BLOCK = 1 << 15
FAR = 10**8
SEEKS = 51


def ours(*, flaw: bool) -> None:
    """Child. flaw: draw by rates that are not those asked for, for the negative control."""
    from trackyard.plan.draw import Draws
    from trackyard.plan.permutation import permute

    sizes = mixture_sizes()
    rates = square_root_rates(sizes)
    names = [f"set-{number:03}" for number in range(len(sizes))]
    asked = sizes / sizes.sum() if flaw else rates
    permute(np.arange(2), 2, 0)  # compiled code is part of the imports
    before = resident_bytes()
    draws = Draws(seed=SEED, rates=asked.tolist(), dataset_of=np.arange(len(sizes)), names=names, sizes=sizes)
    draws.block(0, BLOCK)
    grown = resident_bytes() - before
    seeks = []
    for number in range(SEEKS):
        started = time.perf_counter()
        draws.block(FAR + number, FAR + number + 1)
        seeks.append(time.perf_counter() - started)

    found = repeats(draws)

    def work() -> tuple[float, Any]:
        counts = np.zeros(len(sizes), np.int64)
        for start in range(0, DRAWS, BLOCK):
            entry, _, _, _ = draws.block(start, start + BLOCK)
            counts += np.bincount(entry, minlength=len(sizes))
        return DRAWS, {"counts": counts.tolist(), "repeats": found, "bound": (1 + rates * len(rates) / 2).tolist()}

    report(work, grown_bytes=grown, seek_s=statistics.median(seeks), stray=stray(rates))


def repeats(draws: Any) -> int:
    """Rows drawn again within an epoch of their dataset, in the first draws."""
    rows = np.stack(draws.block(0, PEER_DRAWS)[1:], axis=1)
    return len(rows) - len(np.unique(rows, axis=0))


def stray(rates: Any) -> float:
    """The largest |count - draws * rate| of any entry after any of the first 2^20 draws.

    It is largest right before or right after a draw of the entry.
    """
    from trackyard.plan.draw import draw_order

    entry, number = draw_order(rates.tolist(), 0, 1 << 20)
    position = np.arange(len(entry))
    after = np.abs(number + 1 - (position + 1) * rates[entry])
    return float(max(after.max(), np.abs(number - position * rates[entry]).max()))


def agree(answers: Mapping[str, Any]) -> str | None:
    """What contradicts the rates or repeats a row."""
    rates = square_root_rates(mixture_sizes())
    wrong = []
    for name, answer in answers.items():
        counts = np.array(answer["counts"])
        total = counts.sum()
        allowed = np.array(answer["bound"]) if "bound" in answer else 6 * np.sqrt(total * rates) + 1
        far = int((np.abs(counts - total * rates) > allowed).sum())
        if far or answer["repeats"]:
            wrong.append(f"{name}: {far} datasets drawn otherwise than asked, {answer['repeats']} rows repeated")
    return "; ".join(wrong) or None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scratch", type=Path, help="not used: nothing is written")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--flaw", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        ours(flaw=given.flaw)
        return 0
    mine = Contender(name="trackyard", argv=[__file__, "--child"])
    if agree({"flawed": Contender(name="flawed", argv=[*mine.argv, "--flaw"]).run()["answer"]}) is None:
        raise Unequal("wrong rates were not noticed: the comparison proves nothing")
    peer = str(Path(__file__).with_name("mixture_peer.py"))
    peers = [Contender(name=name, argv=[peer, name], peer=True) for name in PEERS]
    figures = compare([mine, *peers], metric="cpu_s", agree=agree, rounds=given.rounds)
    found = figures["trackyard"]["extra"]
    targets = [
        *judge(figures, [Target(peer=name, ratio=10) for name in PEERS]),
        at_most("10 MB of memory", 10e6, found["grown_bytes"]),
        at_most(f"10 ms to draw {FAR:,}", 0.01, found["seek_s"]),
        at_most("deviation of counts", 1.0, found["stray"]),
    ]
    workload = {
        "name": "120 datasets, square-root rates",
        "unit": "draws/cpu-s",
        "figures": figures,
        "targets": targets,
    }
    return 0 if write_record("mixture", [workload], packages=["numpy"], peers=["datasets", "numpy"]) else 1


if __name__ == "__main__":
    sys.exit(main())
