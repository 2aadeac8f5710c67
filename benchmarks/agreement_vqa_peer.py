"""The official VQA evaluation, asked for the accuracy of every answer set.

    python benchmarks/agreement_vqa_peer.py CHECKOUT SETS SCORES

CHECKOUT: of GT-Vision-Lab/VQA. SETS: a JSON list of {prediction, references}. SCORES: where the accuracies go.
The code is Python 2. What is changed on its way into this interpreter: `print` gets brackets, and \\d in its two
patterns stands for ASCII digits, as it does there. Nothing else is touched.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

OFFICIAL = "PythonEvaluationTools/vqaEvaluation/vqaEval.py"
DIGITS = 13
"""After the point of a percentage: the official code rounds to two unless it is told otherwise."""


def evaluation(checkout: Path) -> Any:
    """The official class."""
    source = (checkout / OFFICIAL).read_text(encoding="utf-8")
    source = re.sub(r'\bprint (".*")', r"print(\1)", source)
    source = source.replace('re.compile("', 're.compile("(?a)')
    found: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "\d" in a string that is not raw
        exec(compile(source, OFFICIAL, "exec"), found)
    return found["VQAEval"]


def official_scores(checkout: Path, sets: Sequence[Any]) -> list[float]:
    """Accuracy of every set, 0 to 1."""
    asked: dict[int, Any] = {}
    for number, one in enumerate(sets):
        # Like the data set's own file, in which no two answers to a question are the same entry.
        answers = [{"answer": text, "answer_id": place} for place, text in enumerate(one["references"], start=1)]
        asked[number] = {"answers": answers, "question_type": "", "answer_type": ""}
    truth = SimpleNamespace(qa=asked, getQuesIds=lambda: list(asked))
    given = SimpleNamespace(qa={number: {"answer": one["prediction"]} for number, one in enumerate(sets)})
    evaluated = evaluation(checkout)(truth, given, n=DIGITS)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluated.evaluate()
    return [evaluated.evalQA[number] / 100 for number in asked]


def main() -> None:
    checkout, sets, scores = map(Path, sys.argv[1:])
    scores.write_text(json.dumps(official_scores(checkout, json.loads(sets.read_text()))))


if __name__ == "__main__":
    main()
