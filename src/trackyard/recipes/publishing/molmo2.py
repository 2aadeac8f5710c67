"""molmo2/<stage>: the exported folder of a stage, in one of two layouts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from trackyard.digest import digest_file
from trackyard.errors import DataError
from trackyard.plan.plan import DOCUMENT
from trackyard.plan.plan import SCHEMA as PLAN_SCHEMA
from trackyard.publish.card import CARD
from trackyard.publish.hub_layout import CONFIG, hub_config
from trackyard.recipes.molmo2.card import card_facts, row_shares
from trackyard.recipes.molmo2.parameters import STAGES
from trackyard.recipes.molmo2.stage import RESULT_SCHEMA
from trackyard.recipes.publishing.publication import Publication, printed, standalone
from trackyard.recipes.publishing.record import Recorded
from trackyard.record.lineage.document import PlanFact, names_in
from trackyard.schema import read_document

TRACK = "molmo2"
USE = "answer.py"
WORDS = (
    f"`python {USE} QUESTION` asks the model; with a picture, the stock processor needs torchvision. The file lies "
    "beside the weights:"
)


def names() -> list[str]:
    return [f"{TRACK}/{stage}" for stage in STAGES]


def publication(root: Path, stage: str, layout: Literal["hub"] | None = None) -> Publication:
    """layout hub: configuration keys of the published checkpoints, for engines that were written against those."""
    again = f"dvc repro {stage}"
    export = root / "artifacts" / TRACK / stage / "export"
    recorded = Recorded.of(export, root, again=again)
    fact = recorded.lineage.plan
    if fact is None:
        raise DataError(
            what=f"the lineage of {export} names no plan",
            why="the card states which data the stage drew, and how often",
            fix=again,
        )
    plan = _plan_of(root / fact.path / DOCUMENT, fact, again)
    cost = recorded.cost()
    result = read_document(recorded.run_directory / "result.json", RESULT_SCHEMA, fix=again)
    facts = card_facts(
        recorded.spec,
        result,
        data=recorded.trained_on(row_shares(plan)),
        bases=recorded.bases(),
        cost=cost,
        use=f"{WORDS}\n\n{printed(USE)}",
    )
    files = {name: export / name for name in names_in(export) if name != CARD}
    texts = {USE: standalone(USE)}
    if layout == "hub":
        texts[CONFIG] = json.dumps(hub_config(json.loads(files.pop(CONFIG).read_text())), indent=2) + "\n"
    return Publication(name=f"{TRACK}/{stage}", recorded=recorded, facts=facts, files=files, texts=texts)


def _plan_of(path: Path, fact: PlanFact, again: str) -> dict[str, Any]:
    """What the plan says of itself. DataError unless it is the one that the export was trained with."""
    document = read_document(path, PLAN_SCHEMA, fix=again)
    if digest_file(path) != fact.files.get(DOCUMENT):
        raise DataError(
            what=f"{path} is another plan than the one of this export",
            why="the card would state shares of data that were not drawn",
            fix=f"bring that one back with `dvc checkout`, or make export and plan anew: {again}",
        )
    summary: dict[str, Any] = document["summary"]
    return summary
