"""BLINK: the likeliest of "(A)", "(B)", ...; what the model generates is scored too, apart from it.

Source: theworld spec sections 12.1 and 12.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from trackyard.evaluate.option_choice import named_option, option_letter
from trackyard.recipes.datacomp.evaluating.items import Item
from trackyard.recipes.datacomp.evaluating.scoring import Answer, Record, likeliest, logliks_by_option, share

COUNTS = {
    "Art_Style": 117, "Counting": 120, "Forensic_Detection": 132, "Functional_Correspondence": 130, "IQ_Test": 150,
    "Jigsaw": 150, "Multi-view_Reasoning": 133, "Object_Localization": 122, "Relative_Depth": 124,
    "Relative_Reflectance": 134, "Semantic_Correspondence": 139, "Spatial_Relation": 143, "Visual_Correspondence": 172,
    "Visual_Similarity": 135,
}  # fmt: skip
"""Items of each task in the validation split; 1,901 together."""


@dataclass(frozen=True)
class Blink:
    name: str = "blink"
    generates: Literal["short"] = "short"
    compares: bool = True
    ends: bool = False

    def problem(self, item: Item) -> str | None:
        """Options are (A), (B), ... in order, and the gold answer is one of them."""
        letters = tuple(option_letter(index) for index in range(len(item.options)))
        if len(letters) < 2 or item.options != letters:
            return f"options {list(item.options)}, not (A), (B) and so on"
        return None if item.gold in letters else f"gold answer {item.gold!r} is none of {', '.join(letters)}"

    def record(self, item: Item, answer: Answer) -> Record:
        pred = likeliest(item, answer)
        named = None if answer.text is None else named_option(answer.text, len(item.options))
        written = None if named is None else item.options[named]
        return Record(
            id=item.id,
            task=item.task,
            gold=item.gold,
            pred=pred,
            correct=pred == item.gold,
            loglik=logliks_by_option(item, answer),
            text=answer.text,
            length=answer.length,
            said={"written": written, "written_correct": written == item.gold},
        )

    def figures(self, records: Sequence[Record]) -> dict[str, Any]:
        """The secondary score, of generated answers; one that names no option, or two, is wrong."""
        asked = [record for record in records if record.text is not None]
        return {
            "written": {
                "n": len(asked),
                "accuracy": share([bool(record.said["written_correct"]) for record in asked]),
                "unparsed_rate": share([record.said["written"] is None for record in asked]),
            }
        }
