"""MMMU's own parser and judge, asked for what they make of every answer.

    python benchmarks/agreement_mmmu_peer.py CHECKOUT ASKED READ

CHECKOUT: of MMMU-Benchmark/MMMU. ASKED: a JSON list of {answer, options, right}. READ: where the list of what was read,
and whether that is right, goes. The code runs as it is, but for its guess: where it would draw an option at random, it
gets None, which shows that it could read nothing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

OFFICIAL = "mmmu/utils/eval_utils.py"


def judged(official: Mapping[str, Any], one: Mapping[str, Any]) -> dict[str, Any]:
    """What is read of an answer (a letter, None for a guess, or a list), and whether it is right."""
    right = one["right"] if len(one["right"]) > 1 else one["right"][0]
    if not one["options"]:
        read = official["parse_open_response"](one["answer"])
        return {"read": read, "right": official["eval_open"](right, read)}
    by_letter = {chr(ord("A") + place): text for place, text in enumerate(one["options"])}
    letter = official["parse_multi_choice_response"](one["answer"], list(by_letter), by_letter)
    return {"read": letter, "right": official["eval_multi_choice"](right, letter)}


def main() -> None:
    checkout, asked, read = map(Path, sys.argv[1:])
    official: dict[str, Any] = {}
    exec(compile((checkout / OFFICIAL).read_text(encoding="utf-8"), OFFICIAL, "exec"), official)
    official["random"] = SimpleNamespace(choice=lambda letters: None)
    read.write_text(json.dumps([judged(official, one) for one in json.loads(asked.read_text())]))


if __name__ == "__main__":
    main()
