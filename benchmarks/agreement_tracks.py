"""HOTA, and J and F of masks, beside TrackEval: `python -m benchmarks.agreement_tracks --peer PYTHON`.

PYTHON: an interpreter that has trackeval (the environment of peers.txt by default). Both score 1,000 made-up track sets
at one threshold and 300 pairs of masks, to 1e-9. Differences that the specification asks for are counted by their
cause; any other is an error. Negative control: tracks whose names are exchanged in one frame must be told apart.
`--keep FILE` writes some of the sets with TrackEval's numbers, which the tests compare with where no peer is.
Source: molmo2 spec section 14, issue of the nine-dataset evaluation.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.agreement_tracks_sets import Masks, masks, tracks
from benchmarks.harness import PEERS, RESULTS, ROOT, SCHEMA, circumstances
from trackyard.evaluate.pointing import TruePoint
from trackyard.evaluate.scorers.masks import boundary_f, region_similarity
from trackyard.evaluate.tracking import TrackedPoint, TrackedRegion, score_tracks
from trackyard.schema import write_document

SETS, PAIRS, SEED = 1_000, 300, 0
KEPT = 50
EQUAL = 1e-9
SAME = "equal"
UNEXPLAINED = "unexplained"
NOTHING = "neither an object nor a prediction: right by the specification, 0 in TrackEval"
NO_MASK = "both masks are empty: 1 by DAVIS's rule for F and ours for J, 0 in the overlap of pycocotools"


def ours_of_tracks(one: dict[str, Any]) -> list[float]:
    """HOTA, DetA and AssA of a made-up set."""
    points = [TrackedPoint(time, name, x, y) for time, name, x, y in one["predicted"]]
    regions = [
        TrackedRegion(name, TruePoint(time, x, y, (x - half, y - half, x + half, y + half)))
        for time, name, x, y, half in one["truth"]
    ]
    found = score_tracks(points, regions)
    return [found.hota, found.detection, found.association]


def ours_of_masks(predicted: Masks, true: Masks) -> list[float]:
    return [region_similarity(predicted, true), boundary_f(predicted, true)]


def exchanged(one: dict[str, Any]) -> dict[str, Any]:
    """The set with the names of the first frame's predictions turned round, for the negative control."""
    first = min((row[0] for row in one["predicted"]), default=0.0)
    names = [row[1] for row in one["predicted"] if row[0] == first]
    turned = iter(names[1:] + names[:1])
    rows = [[row[0], next(turned), *row[2:]] if row[0] == first else row for row in one["predicted"]]
    return {**one, "predicted": rows}


def by_cause(ours: Sequence[list[float]], official: Sequence[list[float]], empty: Sequence[bool], why: str) -> Any:
    """How many agree, how many differ for the reason `why` (that both are empty), and by how much at most."""
    causes: dict[str, list[float]] = {SAME: [], why: [], UNEXPLAINED: []}
    for a, b, nothing in zip(ours, official, empty, strict=True):
        worst = max(abs(x - y) for x, y in zip(a, b, strict=True))
        proved = nothing and all(x == 1 for x in a)
        causes[SAME if worst <= EQUAL else why if proved else UNEXPLAINED].append(worst)
    return {cause: {"count": len(each), "largest_difference": max(each, default=0.0)} for cause, each in causes.items()}


def ask(python: Path, sets: int, pairs: int) -> dict[str, Any]:
    """What TrackEval says. SystemExit with its output if it fails."""
    with tempfile.TemporaryDirectory() as scratch:
        answered = Path(scratch) / "answers.json"
        argv = [str(python), "-m", "benchmarks.agreement_tracks_peer", f"{sets}", f"{pairs}", f"{SEED}", str(answered)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"TrackEval ended with exit code {done.returncode}:\n{done.stdout}{done.stderr}")
        found: dict[str, Any] = json.loads(answered.read_text())
        return found


def main() -> int:
    """0 if every set and pair agrees or its difference is explained, 1 if not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, default=PEERS, help="interpreter that has trackeval")
    parser.add_argument("--sets", type=int, default=SETS)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--keep", type=Path, help="file for some of the sets and TrackEval's numbers")
    given = parser.parse_args()
    sets, pairs = tracks(given.sets, SEED), masks(given.pairs, SEED)
    official = ask(given.peer, given.sets, given.pairs)
    bare = [not one["truth"] and not one["predicted"] for one in sets]
    found = by_cause([ours_of_tracks(one) for one in sets], official["tracks"], bare, NOTHING)
    unmasked = [not (predicted.any() or true.any()) for predicted, true in pairs]
    drawn = by_cause([ours_of_masks(*pair) for pair in pairs], official["masks"], unmasked, NO_MASK)
    wrong = by_cause([ours_of_tracks(exchanged(one)) for one in sets], official["tracks"], bare, NOTHING)
    told_apart = wrong[UNEXPLAINED]["count"]
    agrees = not found[UNEXPLAINED]["count"] and not drawn[UNEXPLAINED]["count"] and told_apart > 0
    body = {
        "benchmark": "agreement_tracks",
        "verdict": "agrees" if agrees else "differs",
        **circumstances(["numpy", "scipy"]),
        "peers": official["versions"],
        "seed": SEED,
        "tracks": {"sets": given.sets, "causes": found},
        "masks": {"pairs": given.pairs, "causes": drawn},
        "control": {"change": "names exchanged in the first frame", "told_apart": told_apart},
    }
    write_document(RESULTS / "agreement_tracks.json", SCHEMA, body)
    if given.keep:
        rows = [{**one, "official": each} for one, each in zip(sets, official["tracks"], strict=True)][:KEPT]
        source = {"trackeval": official["versions"]["trackeval"], "order": ["HOTA", "DetA", "AssA"]}
        write_document(given.keep, "trackyard-official-tracks/1", {"source": source, "sets": rows})
    print(json.dumps({"tracks": found, "masks": drawn, "control": body["control"]}, indent=1))
    return 0 if agrees else 1


if __name__ == "__main__":
    sys.exit(main())
