"""Universal triggers, greedy flips and the query control, side by side with scoring one candidate at a time.

    python -m benchmarks.attack_speed

The loop puts every candidate into a document's text, encodes it, and runs the model over all of it. Ours never leaves
token ids, runs candidates of all documents in batches, and runs only what follows the change. Same budget, same draws:
both must find the same tokens, and the same rise of the loss to 1e-4 nats. The model is a random GPT-NeoX of two
layers, as in the acceptance checks. Source: pile-ffn spec section 8.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.harness import Contender, Target, Unequal, judge, write_record
from benchmarks.turns import Companion, alternate

RATIO = 5.0
OURS = "trackyard"
LOOP = "one candidate at a time"
TOLERANCE = 1e-4
"""Nats per token."""


def ours(length: int, *, flaw: bool) -> None:
    """Child. flaw: attack another model, for the negative control."""
    import torch

    from benchmarks.attack_speed_peer import BUDGET, SEED, SPECIAL, VOCABULARY, documents, model, serve_attacks
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

    serve_attacks(search)


def agree(answers: Mapping[str, Any]) -> str | None:
    """What is not the same token, or not the same rise."""
    first, *others = answers.values()
    for other in others:
        for name in first:
            mine, theirs = first[name], other[name]
            if mine["found"] != theirs["found"]:
                return f"{name} found other tokens"
            if max(abs(here - there) for here, there in zip(mine["delta"], theirs["delta"], strict=True)) > TOLERANCE:
                return f"{name}: the same tokens raise the loss by another amount"
    return None


def measure(length: int, rounds: int) -> dict[str, Any]:
    mine = Contender(name=OURS, argv=["benchmarks/attack_speed.py", "--child", "--length", str(length)])
    loop = Contender(name=LOOP, argv=["benchmarks/attack_speed_peer.py", str(length)])
    flawed = Contender(name="flawed", argv=[*mine.argv, "--flaw"])
    with Companion(flawed) as one, Companion(mine) as other:
        if agree({"flawed": one.hear()["answer"], OURS: other.hear()["answer"]}) is None:
            raise Unequal("another model was not noticed: the comparison proves nothing")
    # What they answer is what a turn is, so nothing is left to warm up.
    figures = alternate([mine, loop], metric="cpu_s", agree=agree, rounds=rounds, warm=0)

    def cpu_s(name: str, attack: str) -> float:
        return statistics.median(one["cpu_s_of"][attack] for one in figures[name]["rounds"])

    attacks = figures[OURS]["rounds"][0]["cpu_s_of"]
    return {
        "name": f"triggers, greedy flips and queries, documents of {length} tokens",
        "unit": "candidates/cpu-s",
        "figures": figures,
        "ours_over_loop": {attack: cpu_s(LOOP, attack) / cpu_s(OURS, attack) for attack in attacks},
        "targets": judge(figures, [Target(peer=LOOP, ratio=RATIO)]),
    }


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
    packages = ["torch", "transformers", "tokenizers"]
    return 0 if write_record("attack_speed", [measure(given.length, given.rounds)], packages=packages) else 1


if __name__ == "__main__":
    sys.exit(main())
