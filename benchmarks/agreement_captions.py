"""CIDEr beside pycocoevalcap's own evaluation.

    python -m benchmarks.agreement_captions --example FOLDER --captions FILE

FOLDER: `example` of a clone of salaniz/pycocoevalcap, which holds the published captions and their references; without
the references (a file of 33 MB that partial clones lack) that corpus is recorded as not run. FILE: JSON lines {id,
captions}. From them come two more corpora: the first caption of each image against its others; and the published
captions against five of the real ones, drawn by a seed, whose values mean nothing but must be equal all the same.
The peer is the package pycocoevalcap, tokenizer included, in a process of its own (`--peer PYTHON`: in another
environment). Words must be the same, and values to 1e-9. Negative control: the plain words of `cider_py` must be told
apart. Source: nine-datasets spec section 4, issue of the nine-dataset evaluation.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import RESULTS, ROOT, SCHEMA, circumstances
from trackyard.evaluate.scorers.caption_words import python_words
from trackyard.evaluate.scorers.cider import cider
from trackyard.evaluate.scorers.ptb import ptb_words
from trackyard.schema import write_document

REFERENCES, HYPOTHESES = "captions_val2014.json", "captions_val2014_fakecap_results.json"
EQUAL = 1e-9
SEED = 0
Captions = Mapping[str, list[str]]


def corpora(example: Path, captions: Path) -> dict[str, tuple[Captions, Captions] | None]:
    """References and hypotheses by image, of every corpus; None where its files are not there."""
    published = {str(one["image_id"]): [one["caption"]] for one in json.loads((example / HYPOTHESES).read_text())}
    real = {row["id"]: row["captions"] for row in map(json.loads, captions.read_text().splitlines())}
    pool = [text for texts in real.values() for text in texts]
    random = np.random.default_rng(SEED)
    drawn = {image: [pool[at] for at in random.integers(len(pool), size=5)] for image in published}
    return {
        "the published example": _published(example, published),
        "real captions, the first of each image against the others": (
            {image: texts[1:] for image, texts in real.items()},
            {image: texts[:1] for image, texts in real.items()},
        ),
        "the published captions against real ones of other images": (drawn, published),
    }


def _published(example: Path, hypotheses: Captions) -> tuple[Captions, Captions] | None:
    if not (example / REFERENCES).is_file():
        return None
    references: dict[str, list[str]] = {image: [] for image in hypotheses}
    for one in json.loads((example / REFERENCES).read_text())["annotations"]:
        if str(one["image_id"]) in references:
            references[str(one["image_id"])].append(one["caption"])
    return references, hypotheses


def ask(python: Path, references: Captions, hypotheses: Captions) -> dict[str, Any]:
    """What the peer makes of captions. SystemExit with its output if it fails."""
    with tempfile.TemporaryDirectory() as scratch:
        asked, answered = Path(scratch) / "captions.json", Path(scratch) / "values.json"
        asked.write_text(json.dumps({"references": references, "hypotheses": hypotheses}))
        argv = [str(python), str(ROOT / "benchmarks" / "agreement_captions_peer.py"), str(asked), str(answered)]
        done = subprocess.run(argv, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"the peer ended with exit code {done.returncode}:\n{done.stdout}{done.stderr}")
        found: dict[str, Any] = json.loads(answered.read_text())
        return found


def words_of(captions: Captions, cut: Callable[[Sequence[str]], list[list[str]]]) -> list[list[list[str]]]:
    """The words of every caption of every image, all cut in one call."""
    words = iter(cut([text for texts in captions.values() for text in texts]))
    return [[next(words) for _ in texts] for texts in captions.values()]


def compared(references: Captions, hypotheses: Captions, official: Mapping[str, Any]) -> dict[str, Any]:
    """How many captions are cut otherwise and how far values are apart, ours and those of the negative control."""

    def values(cut: Callable[[Sequence[str]], list[list[str]]]) -> np.ndarray:
        return cider([own for (own,) in words_of(hypotheses, cut)], words_of(references, cut))

    differing = 0
    for kind, captions in (("references", references), ("hypotheses", hypotheses)):
        theirs = [[text.split() for text in texts] for texts in official["cut"][kind].values()]
        pairs = zip(words_of(captions, ptb_words), theirs, strict=True)
        differing += sum(a != b for ours, texts in pairs for a, b in zip(ours, texts, strict=True))
    ours = values(ptb_words)
    plain = values(lambda texts: [python_words(text) for text in texts])
    return {
        "captions": sum(len(texts) for given in (references, hypotheses) for texts in given.values()),
        "images": len(hypotheses),
        "cut_otherwise": differing,
        "value": {"ours": float(ours.mean()), "official": official["value"], "cider_py": float(plain.mean())},
        "largest_difference": float(np.abs(ours - official["values"]).max()),
        "control": {
            "metric": "cider_py",
            "told_apart": int((np.abs(plain - official["values"]) > EQUAL).sum()),
        },
    }


def agrees(found: Mapping[str, Any]) -> bool:
    """Whether a corpus is cut and valued alike, and the negative control is not."""
    alike = not found["cut_otherwise"] and found["largest_difference"] <= EQUAL
    return bool(alike and found["control"]["told_apart"])


def main() -> int:
    """0 if every corpus that is there agrees, 1 if not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--example", type=Path, required=True, help=f"folder of {HYPOTHESES} and {REFERENCES}")
    parser.add_argument("--captions", type=Path, required=True, help="JSON lines {id, captions}")
    parser.add_argument("--peer", type=Path, default=Path(sys.executable), help="interpreter that has pycocoevalcap")
    given = parser.parse_args()
    found: dict[str, Any] = {}
    for name, corpus in corpora(given.example, given.captions).items():
        if corpus is None:
            found[name] = {"not run": f"{REFERENCES} is not in the folder that --example names"}
        else:
            found[name] = compared(*corpus, ask(given.peer, *corpus))
    verdict = all(agrees(one) for one in found.values() if "not run" not in one)
    files = [given.example / HYPOTHESES, given.example / REFERENCES, given.captions]
    body = {
        "benchmark": "agreement_captions",
        "verdict": "agrees" if verdict else "differs",
        **circumstances(["numpy", "pycocoevalcap"]),
        "seed": SEED,
        "files": {
            file.name: f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}" for file in files if file.exists()
        },
        "corpora": found,
    }
    write_document(RESULTS / "agreement_captions.json", SCHEMA, json.loads(json.dumps(body)))
    print(json.dumps(found, indent=1))
    return 0 if verdict else 1


def _digest(file: Path) -> str:
    return f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"


if __name__ == "__main__":
    sys.exit(main())
