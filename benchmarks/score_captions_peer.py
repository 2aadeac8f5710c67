"""CIDEr of pycocoevalcap over the made-up corpus: `score_captions_peer.py IMAGES`, without trackyard."""

from __future__ import annotations

import sys
from typing import Any

from pycocoevalcap.cider.cider_scorer import CiderScorer

from benchmarks.measured import report
from benchmarks.score_captions_corpus import corpus


def main() -> None:
    hypotheses, references = corpus(int(sys.argv[1]))

    def work() -> tuple[float, Any]:
        scorer = CiderScorer()
        for hypothesis, given in zip(hypotheses, references, strict=True):
            scorer += (hypothesis, given)
        _, values = scorer.compute_score()
        return len(values), values.tolist()

    report(work)


if __name__ == "__main__":
    main()
