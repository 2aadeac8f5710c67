"""MMMU's parsing beside the official one: `python -m benchmarks.agreement_mmmu --peer CHECKOUT`.

CHECKOUT is a clone of MMMU-Benchmark/MMMU; its code runs in a process of its own. Both read the model outputs that it
publishes (MMMU's, and MMMU-Pro's by MMMU's rules) and 10,000 made-up answers; what is read and whether it is right must
be the same. The official code guesses where it can read nothing: those answers are counted, and must be the ones that
are unparsed here. Negative control: the letter parser of multiple choice, which has other rules, must be told apart.
`--keep FILE` writes made-up answers and what the official code reads, which the tests compare with.
Source: nine-datasets spec section 4, issue of the nine-dataset evaluation.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from benchmarks.agreement_mmmu_peer import OFFICIAL
from benchmarks.agreement_vqa import identity
from benchmarks.harness import RESULTS, ROOT, SCHEMA, circumstances
from benchmarks.mmmu_answers import Asked, as_json, made
from trackyard.evaluate.multiple_choice import chosen_option
from trackyard.evaluate.scorers.extraction import extracted
from trackyard.evaluate.scorers.mmmu import mmmu, mmmu_expected, parsed_choice, parsed_open
from trackyard.recipes.nine.layouts.choices import literal_texts
from trackyard.schema import write_document

MADE, SEED = 10_000, 0
KEPT = 200
FIGURES = ("answers", "differing", "guessed", "right", "expected")
PUBLISHED = "mmmu/example_outputs"
PRO = "mmmu-pro/output"


def published(checkout: Path) -> Iterator[Asked]:
    """Model outputs to MMMU's validation questions."""
    for path in sorted((checkout / PUBLISHED).glob("*/*/output.json")):
        for row in json.loads(path.read_text(encoding="utf-8")):
            choice = row["question_type"] == "multiple-choice"
            right = row["answer"] if isinstance(row["answer"], list) else [row["answer"]]
            yield Asked(
                source=f"{path.parts[-3]}: {'choice' if choice else 'open'}",
                answer=row["response"],
                options=list(row["index2ans"].values()) if choice else [],
                right=right,
            )


def pro_rows(checkout: Path) -> dict[str, list[dict[str, Any]]]:
    """Model outputs to MMMU-Pro's questions, by file; but for a question whose only option is a list of options."""
    found = {}
    for path in sorted((checkout / PRO).glob("*.jsonl")):
        with path.open(encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        found[path.stem] = [row for row in rows if not row["options"].startswith("[[")]
    return found


def of_pro(name: str, row: Mapping[str, Any]) -> Asked:
    """A row of MMMU-Pro, whose options are the text of a list."""
    options = literal_texts(row["options"], question=f"{name}: {row['id']}", field="options")
    return Asked(source=name, answer=row["response"], options=list(options), right=[row["answer"]])


def read_here(one: Asked) -> dict[str, Any]:
    """As the peer's report: what is read, and whether it is right."""
    if not one.options:
        return {"read": parsed_open(one.answer), "right": mmmu(one.answer, (), None, one.right) == 1}
    number = parsed_choice(one.answer, one.options)
    right = mmmu(one.answer, one.options, ascii_uppercase.index(one.right[0]))
    return {"read": None if number is None else ascii_uppercase[number], "right": right == 1}


def same(ours: Mapping[str, Any], official: Mapping[str, Any]) -> bool:
    """Whether both read the same; the official list is in no order."""
    read = (ours["read"], official["read"])
    if isinstance(read[0], list) and isinstance(read[1], list):
        read = (sorted(map(repr, read[0])), sorted(map(repr, read[1])))
    return bool(read[0] == read[1] and ours["right"] == official["right"])


def by_source(asked: Sequence[Asked], official: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Answers, how many differ, how many the official code guesses, and scores, by source."""
    found: dict[str, dict[str, float]] = {}
    for one, theirs in zip(asked, official, strict=True):
        ours = read_here(one)
        index = ascii_uppercase.index(one.right[0]) if one.options else None
        figure = found.setdefault(
            one.source, dict.fromkeys(("answers", "differing", "guessed", "right", "expected"), 0)
        )
        figure["answers"] += 1
        figure["differing"] += not same(ours, theirs)
        figure["guessed"] += theirs["read"] is None
        figure["right"] += ours["right"]
        figure["expected"] += mmmu_expected(one.answer, one.options, index, one.right)
    for figure in found.values():
        figure["mmmu"] = figure.pop("right") / figure["answers"]
        figure["mmmu_expected"] = figure.pop("expected") / figure["answers"]
    return found


def pro_rules(checkout: Path) -> dict[str, Any]:
    """How MMMU's rules, after answer extraction, stand to MMMU-Pro's own, whose readings its outputs carry.

    They are other rules (an option's letter inside a word counts, and guesses are among the readings), so they need not
    agree; the figures say how much hangs on it.
    """
    found = {}
    for name, rows in pro_rows(checkout).items():
        read = [read_here(of_pro(name, {**row, "response": extracted(row["response"])})) for row in rows]
        found[name] = {
            "answers": len(rows),
            "read_alike": sum(row["pred_indexs"] == ours["read"] for row, ours in zip(rows, read, strict=True)),
            "unparsed": sum(ours["read"] is None for ours in read),
            "score_there": sum(row["if_right"] for row in rows) / len(rows),
            "score_here": sum(ours["right"] for ours in read) / len(rows),
        }
    return found


def ask(checkout: Path, asked: Sequence[Asked]) -> list[dict[str, Any]]:
    """What the official code reads, from a process without this project. SystemExit with its output if it fails."""
    with tempfile.TemporaryDirectory() as scratch:
        given, answered = Path(scratch) / "asked.json", Path(scratch) / "read.json"
        given.write_text(json.dumps(as_json(list(asked))))
        script = ROOT / "benchmarks" / "agreement_mmmu_peer.py"
        argv = [sys.executable, str(script), str(checkout), str(given), str(answered)]
        done = subprocess.run(argv, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"the official code ended with exit code {done.returncode}:\n{done.stdout}{done.stderr}")
        found: list[dict[str, Any]] = json.loads(answered.read_text())
        return found


def told_apart(asked: Sequence[Asked], official: Sequence[Mapping[str, Any]]) -> int:
    """Choices that the letter parser, which has other rules, reads otherwise."""
    count = 0
    for one, theirs in zip(asked, official, strict=True):
        if one.options:
            number = chosen_option(one.answer, one.options)
            count += theirs["read"] != (None if number is None else ascii_uppercase[number])
    return count


def main() -> int:
    """0 if nothing is read otherwise, 1 if something is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, required=True, help="a clone of MMMU-Benchmark/MMMU")
    parser.add_argument("--made", type=int, default=MADE)
    parser.add_argument("--keep", type=Path, help="file for made-up answers and what the official code reads")
    given = parser.parse_args()
    asked = made(given.made, SEED)
    asked += published(given.peer)
    asked += [of_pro(name, row) for name, rows in pro_rows(given.peer).items() for row in rows]
    official = ask(given.peer, asked)
    sources = by_source(asked, official)
    noticed = told_apart(asked, official)
    differing = int(sum(figure["differing"] for figure in sources.values()))
    agrees = differing == 0 and noticed > 0 and len(asked) > given.made
    digest = identity(given.peer / OFFICIAL)
    body = {
        "benchmark": "agreement_mmmu",
        "verdict": "agrees" if agrees else "differs",
        **circumstances([]),
        "peers": {f"MMMU-Benchmark/MMMU {OFFICIAL}": digest},
        "answers": len(asked),
        "seed": SEED,
        "sources": sources,
        "causes": {"the official code guesses at random, unparsed here": sum(one["read"] is None for one in official)},
        "mmmu_pro_rules": pro_rules(given.peer),
        "control": {"parser": "multiple choice by letters", "told_apart": noticed},
    }
    write_document(RESULTS / "agreement_mmmu.json", SCHEMA, body)
    if given.keep:
        rows = [
            {"answer": one.answer, "options": one.options, "accepted": one.right, **theirs}
            for one, theirs in zip(asked[:KEPT], official[:KEPT], strict=True)
        ]
        write_document(given.keep, "trackyard-official-mmmu/1", {"source": OFFICIAL, "digest": digest, "answers": rows})
    for source, figure in sources.items():
        counts = f"{figure['differing']} read otherwise, {figure['guessed']} guessed"
        print(f"{source:40} {figure['answers']:7,} answers, {counts}")
    print(f"control: {noticed:,} are told from the letter parser; {body['verdict']}")
    return 0 if agrees else 1


if __name__ == "__main__":
    sys.exit(main())
