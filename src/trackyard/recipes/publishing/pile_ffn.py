"""pile_ffn/<cell>: the plain GPT-NeoX of a cell, exact or rounded."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from trackyard.models.nonneg_export import EXACT, ROUNDED
from trackyard.recipes.pile_ffn.cells import Arm
from trackyard.recipes.pile_ffn.parameters import PileFfnParameters
from trackyard.recipes.pile_ffn.report.card import card_facts
from trackyard.recipes.pile_ffn.results import read_result
from trackyard.recipes.pile_ffn.study import TRACK, Study
from trackyard.recipes.publishing.publication import Publication, printed, standalone
from trackyard.recipes.publishing.record import Recorded
from trackyard.record.lineage.document import names_in

AGAIN = "dvc repro pipelines/pile_ffn/dvc.yaml"
Form = Literal["fp32", "bf16"]
USE = "generate.py"
WORDS = {
    EXACT: "These are the exact weights, on which everything below was measured.",
    ROUNDED: "These weights are rounded to bf16; everything below was measured on the exact ones.",
}


def names(parameters: PileFfnParameters) -> list[str]:
    return [f"{TRACK}/{name}" for name in parameters.cells]


def publication(root: Path, parameters: PileFfnParameters, name: str, form: Form = "fp32") -> Publication:
    study, cell = Study(root=root, parameters=parameters), parameters.cells[name]
    export = study.export(cell)
    recorded = Recorded.of(export, root, again=AGAIN)
    if Arm.named(cell.arm).trained:
        recorded.require_run(read_result(study.document("train", cell), "train").header.run_id, again=AGAIN)
    facts = card_facts(
        study,
        cell,
        data=recorded.trained_on(),
        bases=recorded.bases(),
        cost=recorded.cost(),
        lineage=recorded.links(),
        use=f"{WORDS[form]} `python {USE} TEXT` continues a text:\n\n{printed(USE)}",
    )
    inside = f"{form}/"
    files = {path.removeprefix(inside): export / path for path in names_in(export) if path.startswith(inside)}
    return Publication(
        name=f"{TRACK}/{name}", recorded=recorded, facts=facts, files=files, texts={USE: standalone(USE)}
    )
