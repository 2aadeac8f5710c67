"""CIDEr of 40,504 captions with five references each, side by side with pycocoevalcap's scorer.

    python -m benchmarks.score_captions

Both are given tokenised captions as text, since the tokenizer is the same program, and answer with the value of every
image. What counts is images per CPU-second. Values are compared first, to 1e-9, with a negative control.
Source: nine-datasets spec section 4, issue of the nine-dataset evaluation.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.harness import Contender, Target, Unequal, compare, judge, write_record
from benchmarks.measured import report
from benchmarks.score_captions_corpus import IMAGES, corpus

OURS, PEER = "trackyard", "pycocoevalcap"
EQUAL = 1e-9


def ours(images: int, *, flaw: bool) -> None:
    """Child: score the corpus. flaw: with the references of the next image, for the negative control."""
    from trackyard.evaluate.scorers.cider import cider

    hypotheses, references = corpus(images)
    if flaw:
        references = [*references[1:], references[0]]

    def work() -> tuple[float, Any]:
        values = cider(
            [text.split() for text in hypotheses], [[text.split() for text in given] for given in references]
        )
        return len(values), values.tolist()

    report(work)


def agree(answers: Mapping[str, Any]) -> str | None:
    """What differs by more than rounding, of contenders in pairs with the first."""
    (first, values), *others = answers.items()
    for name, found in others:
        worst = max(abs(a - b) for a, b in zip(values, found, strict=True))
        if worst > EQUAL:
            return f"{name} differs from {first} by up to {worst:.3g}"
    return None


def contenders(images: int, *flags: str) -> list[Contender]:
    peer = Path(__file__).with_name("score_captions_peer.py")
    return [
        Contender(name=OURS, argv=[__file__, "--child", "--images", str(images), *flags]),
        Contender(name=PEER, argv=[str(peer), str(images)]),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=IMAGES)
    parser.add_argument("--scratch", type=Path, help="not used: the corpus is made in memory")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--flaw", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        ours(given.images, flaw=given.flaw)
        return 0
    flawed = {one.name: one.run()["answer"] for one in contenders(500, "--flaw")}
    if agree(flawed) is None:
        raise Unequal("references of another image were not noticed: the comparison proves nothing")
    figures = compare(contenders(given.images), metric="cpu_s", agree=agree, rounds=given.rounds)
    workload = {
        "name": f"{given.images:,} captions, 5 references each",
        "unit": "images/cpu-s",
        "figures": figures,
        "targets": judge(figures, [Target(peer=PEER, ratio=1)]),
    }
    return 0 if write_record("score_captions", [workload], packages=["numpy", "pycocoevalcap"]) else 1


if __name__ == "__main__":
    sys.exit(main())
