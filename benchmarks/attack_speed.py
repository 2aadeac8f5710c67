"""Universal triggers, greedy flips and the query control, side by side with scoring one candidate at a time.

    python -m benchmarks.attack_speed

The loop puts every candidate into a document's text, encodes it, and runs the model over all of it. Ours never leaves
token ids, runs candidates of all documents in batches, and runs only what follows the change. Same budget, same draws:
both must find the same tokens, and the same rise of the loss to 1e-4 nats. The model is a random GPT-NeoX of two
layers, as in the acceptance checks. Source: pile-ffn spec section 8.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.attack_speed_peer import ATTACKS, BUDGET, SEED, SPECIAL, VOCABULARY, documents, model, report_attacks
from benchmarks.harness import Contender, Target, Unequal, compare, judge, write_record

RATIO = 5.0
LOOP = "one candidate at a time"
TOLERANCE = 1e-4
"""Nats per token."""


def ours(length: int, *, flaw: bool) -> None:
    """Child. flaw: attack another model, for the negative control."""
    import torch

    from trackyard.evaluate.attacks.controls import query
    from trackyard.evaluate.attacks.hotflip import greedy
    from trackyard.evaluate.attacks.outcome import AttackResult, Documents
    from trackyard.evaluate.attacks.pool import TokenPool
    from trackyard.evaluate.attacks.scoring import Scorer
    from trackyard.evaluate.attacks.uat import search_trigger

    net = model()
    if flaw:
        with torch.no_grad():
            net.get_input_embeddings().weight.mul_(-1)
    given, pool = Documents.of(documents(length)), TokenPool.of(range(SPECIAL, VOCABULARY))
    scorer = Scorer(net)
    scorer.exact(given.ids_NT)

    def tokens(result: AttackResult) -> Any:
        ids_NT = given.ids_NT.clone()
        for ids_T, record in zip(ids_NT, result.records, strict=True):
            ids_T[list(record.positions)] = torch.tensor(record.ids, dtype=torch.int64)
        return {"found": ids_NT.tolist(), "delta": result.deltas}

    def search(name: str) -> Any:
        if name == "uat":
            trigger = search_trigger(scorer, given, pool, BUDGET, seed=SEED)
            return {"found": [list(trigger.ids)], "delta": [trigger.objective]}
        if name == "greedy":
            return tokens(greedy(scorer, given, pool, BUDGET))
        return tokens(query(scorer, given, pool, BUDGET, seed=SEED))

    report_attacks(search)


def agree(answers: Mapping[str, Any]) -> str | None:
    """What is not the same token, or not the same rise."""
    first, *others = answers.values()
    for other in others:
        for name in ATTACKS:
            mine, theirs = first[name], other[name]
            if mine["found"] != theirs["found"]:
                return f"{name} found other tokens"
            if max(abs(here - there) for here, there in zip(mine["delta"], theirs["delta"], strict=True)) > TOLERANCE:
                return f"{name}: the same tokens raise the loss by another amount"
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--length", type=int, default=64, help="tokens of a document")
    parser.add_argument("--scratch", type=Path, help="not used: nothing is written")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--flaw", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        ours(given.length, flaw=given.flaw)
        return 0
    mine = Contender(name="trackyard", argv=[__file__, "--child", "--length", str(given.length)])
    flawed = Contender(name="flawed", argv=[*mine.argv, "--flaw"])
    if agree({one.name: one.run()["answer"] for one in (mine, flawed)}) is None:
        raise Unequal("another model was not noticed: the comparison proves nothing")
    loop = Contender(name=LOOP, argv=[str(Path(__file__).with_name("attack_speed_peer.py")), str(given.length)])
    figures = compare([mine, loop], metric="cpu_s", agree=agree, rounds=given.rounds)
    spent = {name: figures[name]["extra"]["cpu_s"] for name in figures}
    workload = {
        "name": f"triggers, greedy flips and queries, documents of {given.length} tokens",
        "unit": "candidates/cpu-s",
        "figures": figures,
        "ours_over_loop": {name: spent[LOOP][name] / spent["trackyard"][name] for name in ATTACKS},
        "targets": judge(figures, [Target(peer=LOOP, ratio=RATIO)]),
    }
    return 0 if write_record("attack_speed", [workload], packages=["torch", "transformers", "tokenizers"]) else 1


if __name__ == "__main__":
    sys.exit(main())
