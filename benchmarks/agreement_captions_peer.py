"""pycocoevalcap's own tokenizer and CIDEr over captions: `python benchmarks/agreement_captions_peer.py ASKED ANSWERED`.

ASKED: JSON {references: {image: [caption]}, hypotheses: {image: [caption]}}. ANSWERED: where {references, hypotheses}
as cut by its tokenizer, the value of each image and that of the corpus go. Runs without trackyard, as its evaluation
does it: references and hypotheses are tokenised in two calls.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer


def main() -> None:
    asked, answered = map(Path, sys.argv[1:])
    given: dict[str, Any] = json.loads(asked.read_text())
    cut = {
        kind: PTBTokenizer().tokenize({image: [{"caption": text} for text in texts] for image, texts in found.items()})
        for kind, found in given.items()
    }
    value, values = Cider().compute_score(cut["references"], cut["hypotheses"])
    answered.write_text(json.dumps({"cut": cut, "value": float(value), "values": values.tolist()}))


if __name__ == "__main__":
    main()
