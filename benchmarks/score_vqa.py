"""Scoring all of VQA v2's validation answers: `python -m benchmarks.score_vqa [--peer CHECKOUT]`.

214,354 made-up answers with ten references each, one core, from texts in memory to accuracies; ours begins with nothing
kept in every round. CHECKOUT is a clone of GT-Vision-Lab/VQA, whose evaluation scores the same sets in the same run;
without it that is recorded as missing. Scores are compared first, as in `agreement_vqa`.
Source: issue of the nine-dataset evaluation: under 10 s.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.agreement_vqa import UNEXPLAINED, by_cause, counted
from benchmarks.agreement_vqa_peer import official_scores
from benchmarks.harness import Contender, compare, write_record
from benchmarks.limits import at_most
from benchmarks.measured import report
from benchmarks.vqa_answers import AnswerSet, as_json, made
from trackyard.evaluate.scorers.vqa import vqa_scores

ANSWERS, SEED = 214_354, 1
LIMIT_S = 10.0
OURS, OFFICIAL = "trackyard", "GT-Vision-Lab/VQA"


def agreement(sets: list[AnswerSet], answers: Mapping[str, Any]) -> str | None:
    """None if ours are the official scores but for differences whose cause is proved."""
    if OFFICIAL not in answers:
        return None
    ours, official = answers[OURS], answers[OFFICIAL]
    if by_cause(counted(sets, [1 - score for score in ours], official))[UNEXPLAINED]["sets"] == 0:
        return "the comparison finds nothing"
    differing = by_cause(counted(sets, ours, official))[UNEXPLAINED]["sets"]
    return f"{differing:,} scores are not the official ones" if differing else None


def child(name: str, data: Path, checkout: Path | None) -> None:
    """One contender's report."""
    sets = json.loads(data.read_text())

    def work() -> tuple[float, Any]:
        if checkout is not None:
            return len(sets), official_scores(checkout, sets)
        found = vqa_scores([one["prediction"] for one in sets], [one["references"] for one in sets])
        return len(sets), found.tolist()

    report(work, scored_by=name)


def main() -> int:
    """0 if the limit is kept and figures are steady, 1 if not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, help="a clone of GT-Vision-Lab/VQA")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", choices=(OURS, OFFICIAL), help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child, given.data, given.peer)
        return 0
    sets = made(ANSWERS, SEED)
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "sets.json"
        data.write_text(json.dumps(as_json(sets)))
        argv = ["-m", "benchmarks.score_vqa", "--data", str(data), "--child"]
        everyone = [Contender(name=OURS, argv=[*argv, OURS])]
        if given.peer is not None:
            everyone.append(Contender(name=OFFICIAL, argv=[*argv, OFFICIAL, "--peer", str(given.peer.absolute())]))
        figures = compare(everyone, metric="cpu_s", agree=lambda answers: agreement(sets, answers), rounds=given.rounds)
    if given.peer is None:
        figures[OFFICIAL] = {"missing": "no checkout was given: --peer CHECKOUT"}
    distinct = len({text for one in sets for text in (one.prediction, *one.references)})
    workload = {
        "name": f"{ANSWERS:,} answers, ten references each, {distinct:,} distinct texts",
        "unit": "answers/cpu-s",
        "figures": figures,
        "targets": [at_most(f"{LIMIT_S:.0f} s of one core", LIMIT_S, ANSWERS / figures[OURS]["rate"])],
    }
    return 0 if write_record("score_vqa", [workload], packages=("numpy",)) else 1


if __name__ == "__main__":
    sys.exit(main())
