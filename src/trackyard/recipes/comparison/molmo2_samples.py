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
    fix = f"rm {path}, then trackyard run {run.track} {run.stage}"
    scores = read_document(path, SCHEMA, fix=fix)["scores"]
    shares, lacks = {}, [nothing_in_pairs]
    for name in COUNTED:
        if name not in scores:
            continue
        asked, examples = _asked(run, name), scores[name]["examples"]
        if asked is None:
            lacks.append(f"its spool does not name the data of {name}, so what was asked is not known")
            continue
        shares[f"validation/{name}"] = Share(
            asked=asked, right=round(scores[name]["value"] * examples), answers=examples
        )
    return Samples(shares=shares, lacks=tuple(lacks))


def _asked(run: RunSummary, score: str) -> str | None:
    """By the fingerprints of its data sets, as the run told them: one path may hold other rows for another run."""
    parameters = run.spec["parameters"]["validation"]
    digests = [run.evaluated.get(f"{name}/validation") for name in parameters["datasets"][score]]
    return None if None in digests else digest_json([digests, parameters["limit"], parameters["new_tokens"][score]])
