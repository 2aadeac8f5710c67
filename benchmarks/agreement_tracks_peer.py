"""TrackEval on the made-up tracks and masks: `python -m benchmarks.agreement_tracks_peer SETS PAIRS SEED ANSWERED`.

Writes {tracks: [[HOTA, DetA, AssA]], masks: [[J, F]], versions}. HOTA is taken at one threshold: with similarities of 0
and 1 every threshold is the same, which is checked. Runs in an environment with trackeval, without trackyard.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as run_lengths
from trackeval.metrics.hota import HOTA
from trackeval.metrics.j_and_f import JAndF

from benchmarks.agreement_tracks_sets import Masks, masks, tracks

TOLERANCE = 0.008
THRESHOLD = 9
"""Index of 0.5 among TrackEval's thresholds."""
PACKAGES = ("trackeval", "numpy", "scipy", "opencv-python-headless", "scikit-image", "pycocotools")


def sequence(one: dict[str, Any]) -> dict[str, Any]:
    """A set in the form that TrackEval's metrics take."""
    true: dict[str, int] = {}
    given: dict[int, int] = {}
    of_true, of_given, alike = [], [], []
    for time in sorted({row[0] for kind in one.values() for row in kind}):
        regions = [row for row in one["truth"] if row[0] == time]
        points = [row for row in one["predicted"] if row[0] == time]
        of_true.append(np.array([true.setdefault(row[1], len(true)) for row in regions], dtype=int))
        of_given.append(np.array([given.setdefault(row[1], len(given)) for row in points], dtype=int))
        inside = [[_inside(point, region) for point in points] for region in regions]
        alike.append(np.array(inside, dtype=float).reshape(len(regions), len(points)))
    return {
        "num_timesteps": len(alike), "gt_ids": of_true, "tracker_ids": of_given, "similarity_scores": alike,
        "num_gt_ids": len(true), "num_tracker_ids": len(given),
        "num_gt_dets": len(one["truth"]), "num_tracker_dets": len(one["predicted"]),
    }  # fmt: skip


def _inside(point: list[Any], region: list[Any]) -> bool:
    (_, _, x, y), (_, _, at_x, at_y, half) = point, region
    return bool(at_x - half <= x <= at_x + half and at_y - half <= y <= at_y + half)


def official_tracks(one: dict[str, Any]) -> list[float]:
    found = HOTA().eval_sequence(sequence(one))
    values = [found[name] for name in ("HOTA", "DetA", "AssA")]
    if any(np.ptp(each) > 0 for each in values):
        sys.exit("thresholds differ, though similarities are 0 and 1")
    return [float(each[THRESHOLD]) for each in values]


def official_masks(predicted: Masks, true: Masks) -> list[float]:
    coded = [run_lengths.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in (predicted, true)]
    overlap = float(run_lengths.iou([coded[0]], [coded[1]], [False])[0, 0])
    return [overlap, float(JAndF._compute_f([[coded[1]]], [[coded[0]]], 0, 0, TOLERANCE)[0])]


def main() -> None:
    sets, pairs, seed = (int(text) for text in sys.argv[1:4])
    answer = {
        "tracks": [official_tracks(one) for one in tracks(sets, seed)],
        "masks": [official_masks(*pair) for pair in masks(pairs, seed)],
        "versions": {name: version(name) for name in PACKAGES},
    }
    Path(sys.argv[4]).write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
