"""VQA accuracy beside the official evaluation: `python -m benchmarks.agreement_vqa --peer CHECKOUT`.

CHECKOUT is a clone of GT-Vision-Lab/VQA; its code runs in a process of its own. Both score 10,000 made-up answer sets.
A difference counts as explained where the value that its cause must lead to is the official one; any other is an
error. Negative control: the simple form of the metric must be told from the official one. `--keep FILE` writes some of
the sets with the official scores, which the tests compare with where no checkout is.
Source: nine-datasets spec section 4, issue of the nine-dataset evaluation.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.agreement_vqa_peer import OFFICIAL
from benchmarks.harness import RESULTS, ROOT, SCHEMA, circumstances
from benchmarks.vqa_answers import AnswerSet, as_json, made
from trackyard.evaluate.scorers.vqa import leave_one_out, normalised, vqa_scores, vqa_simple
from trackyard.schema import write_document

SETS, SEED = 10_000, 0
KEPT = 200
EQUAL = 1e-9
SAME = "equal"
UNEXPLAINED = "unexplained"
AGREED = "all references are written alike, so that the official code normalises neither side"
NOTHING = "nothing is left of the prediction in the normal form, and the official code lets it match such references"
NOT_DRAWN = "the official code deletes no more than 32 full stops of a text"
"""A difference that is known from its source and that no answer of the data set comes near."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One set: both scores, and why they differ."""

    ours: float
    official: float
    cause: str


def compared(one: AnswerSet, ours: float, official: float) -> Compared:
    """Why two scores of a set differ; proved by what the cause would have to give."""
    if abs(ours - official) <= EQUAL:
        return Compared(ours, official, SAME)
    stripped = [_stripped(text) for text in one.references]
    if len(set(stripped)) == 1:
        cause, matching = AGREED, stripped.count(_stripped(one.prediction))
    else:
        cause, matching = NOTHING, [normalised(text) for text in stripped].count("")
        if normalised(one.prediction):
            return Compared(ours, official, UNEXPLAINED)
    proved = abs(leave_one_out(matching, len(stripped)) - official) <= EQUAL
    return Compared(ours, official, cause if proved else UNEXPLAINED)


def counted(sets: Sequence[AnswerSet], ours: Sequence[float], official: Sequence[float]) -> list[Compared]:
    """Every set, compared."""
    return [compared(*row) for row in zip(sets, ours, official, strict=True)]


def by_cause(found: Sequence[Compared]) -> dict[str, Any]:
    """Number of sets and the largest difference, by cause."""
    causes: dict[str, list[float]] = {cause: [] for cause in (SAME, AGREED, NOTHING, UNEXPLAINED)}
    for one in found:
        causes[one.cause].append(abs(one.ours - one.official))
    return {cause: {"sets": len(each), "largest_difference": max(each, default=0.0)} for cause, each in causes.items()}


def ask(checkout: Path, sets: Sequence[AnswerSet]) -> list[float]:
    """The official scores, from a process without this project. SystemExit with its output if it fails."""
    with tempfile.TemporaryDirectory() as scratch:
        asked, answered = Path(scratch) / "sets.json", Path(scratch) / "scores.json"
        asked.write_text(json.dumps(as_json(list(sets))))
        script = ROOT / "benchmarks" / "agreement_vqa_peer.py"
        argv = [sys.executable, str(script), str(checkout), str(asked), str(answered)]
        done = subprocess.run(argv, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"the official code ended with exit code {done.returncode}:\n{done.stdout}{done.stderr}")
        scores: list[float] = json.loads(answered.read_text())
        return scores


def identity(path: Path) -> str:
    """What a file of the official code is known by."""
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def keep(path: Path, sets: Sequence[AnswerSet], found: Sequence[Compared], official: str) -> None:
    """The first sets and what both make of them, as data of the tests."""
    rows: list[Mapping[str, Any]] = [
        {**one, "official": each.official, "ours": each.ours, "cause": each.cause}
        for one, each in zip(as_json(list(sets)), found, strict=True)
    ]
    write_document(path, "trackyard-official-vqa/1", {"source": OFFICIAL, "digest": official, "sets": rows})


def main() -> int:
    """0 if every set agrees or its difference is proved, 1 if not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, required=True, help="a clone of GT-Vision-Lab/VQA")
    parser.add_argument("--sets", type=int, default=SETS)
    parser.add_argument("--keep", type=Path, help="file for some of the sets and their official scores")
    given = parser.parse_args()
    sets = made(given.sets, SEED)
    predictions, references = [one.prediction for one in sets], [one.references for one in sets]
    official = ask(given.peer, sets)
    found = counted(sets, vqa_scores(predictions, references).tolist(), official)
    simple = [vqa_simple(*pair) for pair in zip(predictions, references, strict=True)]
    noticed = by_cause(counted(sets, simple, official))[UNEXPLAINED]["sets"]
    causes = by_cause(found)
    agrees = causes[UNEXPLAINED]["sets"] == 0 and noticed > 0
    digest = identity(given.peer / OFFICIAL)
    body = {
        "benchmark": "agreement_vqa",
        "verdict": "agrees" if agrees else "differs",
        **circumstances([]),
        "peers": {f"GT-Vision-Lab/VQA {OFFICIAL}": digest},
        "sets": given.sets,
        "seed": SEED,
        "mean": {"ours": sum(one.ours for one in found) / len(found), "official": sum(official) / len(official)},
        "causes": causes,
        "known_and_not_drawn": NOT_DRAWN,
        "control": {"metric": "vqa_simple", "told_apart": noticed},
    }
    write_document(RESULTS / "agreement_vqa.json", SCHEMA, body)
    if given.keep:
        keep(given.keep, sets[:KEPT], found[:KEPT], digest)
    for cause, figure in causes.items():
        print(f"{figure['sets']:7,} sets, differing by at most {figure['largest_difference']:.3g}: {cause}")
    print(f"control: {noticed:,} sets are told from vqa_simple; {body['verdict']}")
    return 0 if agrees else 1


def _stripped(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()


if __name__ == "__main__":
    sys.exit(main())
