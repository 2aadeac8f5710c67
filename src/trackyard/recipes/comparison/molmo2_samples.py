"""What a run of Molmo2 keeps of its validation: the numbers of right answers, and no single one."""

from __future__ import annotations

from trackyard.digest import digest_json
from trackyard.recipes.comparison.samples import Samples, Share
from trackyard.record.comparing.summary import RunSummary
from trackyard.schema import read_document

SCHEMA, DOCUMENT = "trackyard-validation/1", "validation-trained.json"
COUNTED = ("counting", "multiple_choice")
"""Scores that are shares of right answers; pointing is a mean of F1."""


def molmo2_samples(run: RunSummary) -> Samples:
    """Counts for Wilson's interval. DataError for a document of another schema."""
    nothing_in_pairs = "no samples are stored of its validation, only counts: nothing can be tested in pairs"
    path = run.path / DOCUMENT
    if not path.is_file():
        return Samples(lacks=(f"{path} is not there: it was not validated yet",))
    scores = read_document(path, SCHEMA, fix=f"trackyard run {run.track} {run.stage}")["scores"]
    parameters = run.spec["parameters"]
    asked = digest_json([parameters["snapshot"], parameters["validation"]])
    shares = {
        f"validation/{name}": Share(
            asked=asked, right=round(scores[name]["value"] * scores[name]["examples"]), answers=scores[name]["examples"]
        )
        for name in COUNTED
        if name in scores
    }
    return Samples(shares=shares, lacks=(nothing_in_pairs,))
