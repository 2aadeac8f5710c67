"""How much of what a run was trained on each data set is, as the plan of the run has it."""

from __future__ import annotations

import json
from typing import Any

from trackyard.digest import digest_file
from trackyard.plan.plan import DOCUMENT, SCHEMA
from trackyard.record.lineage.links import Hashed, Link


def shares(chain: Link) -> dict[str, str]:
    """By fingerprint of a data set, its share of the trained tokens in each run of the chain, nearest run first.

    Only plans that mix data sets by rate state shares; a plan that is not at hand states none.
    """
    found: dict[str, dict[str, None]] = {}
    for run in chain.walk():
        if run.kind != "run":
            continue
        by_name = {one.facts.get("dataset"): one.facts.get("fingerprint", "") for one in run.inputs}
        stage = run.facts.get("stage", "")
        for plan in (one for one in run.inputs if one.kind == "plan"):
            for dataset, share in _of_plan(plan).items():
                if by_name.get(dataset):
                    found.setdefault(by_name[dataset], {})[f"{stage} {100 * share:.1f} %".strip()] = None
    return {fingerprint: ", ".join(told) for fingerprint, told in found.items()}


def _of_plan(plan: Link) -> dict[str, float]:
    """Share of tokens by data set; a data set that is drawn in several groups is added up."""
    document = next((file for file in plan.files if file.path.name == DOCUMENT), None)
    body = None if document is None else _read(document)
    added: dict[str, float] = {}
    for entry in body["summary"].get("entries", ()) if body else ():
        added[entry["dataset"]] = added.get(entry["dataset"], 0.0) + entry["token_share"]
    return added


def _read(document: Hashed) -> Any:
    """A plan's document; None if it is another kind of plan, not at hand, or not the recorded one, which the proof
    tells.
    """
    if not document.path.is_file() or digest_file(document.path) != document.digest:
        return None
    body = json.loads(document.path.read_bytes())
    return body if body["schema"] == SCHEMA else None
