"""Text to ids beside Hugging Face tokenizers, with identical ids: `python -m benchmarks.tokenize_text`.

13 MB of made-up prose and as much of real code, byte-level BPE of 50,304 entries in the manner of GPT-NeoX, one core.
Ours begins with nothing kept in every round; the texts lie in memory. Source: performance spec sections 8.5, 10.2 (B6).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from benchmarks.harness import Contender, Target, Unequal, compare, equal_answers, judge, write_record
from benchmarks.measured import report
from benchmarks.tokenize_text_peer import BYTES, TEXTS, TOKENIZER, WAYS, make, texts_of, work
from trackyard.snapshot.fast_bpe import FastBpe

OURS = "trackyard"
RATIO = 4.0
AIMED_AT = ("encode", "encode_batch")
"""What B6 was measured with. encode_batch_fast, which gives ids alone, is newer, and recorded beside them."""
ONE_CORE = {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1"}


def contenders(scratch: Path, text: str) -> list[Contender]:
    def contender(script: str, name: str, *, peer: bool) -> Contender:
        argv = [f"benchmarks/{script}.py", "--child", name, str(scratch), text]
        return Contender(name=name, argv=argv, peer=peer, environment=ONE_CORE)

    return [
        contender("tokenize_text", OURS, peer=False),
        *(contender("tokenize_text_peer", name, peer=True) for name in WAYS),
    ]


def agree(answers: Mapping[str, Any]) -> str | None:
    """Digests of all ids; a comparison that finds no difference where there is one is a difference itself."""
    if equal_answers(dict(answers) | {"control": "0"}) is None:
        return "the comparison finds nothing"
    return equal_answers(answers)


def measure(scratch: Path, rounds: int) -> list[dict[str, Any]]:
    make(scratch)
    workloads = []
    for text in TEXTS:
        everyone = contenders(scratch, text)
        if not any(one.peer and one.interpreter for one in everyone):
            raise Unequal("no peer is there to compare ids with: `make bench` makes their environment")
        figures = compare(everyone, metric="cpu_s", agree=agree, rounds=rounds)
        workloads.append(
            {
                "name": f"{BYTES // 1_000_000} MB of {text}",
                "unit": "MB/cpu-s",
                "figures": figures,
                "targets": judge(figures, [Target(peer=name, ratio=RATIO) for name in AIMED_AT]),
            }
        )
    return workloads


def main() -> int:
    """0 if targets are reached and figures steady, 1 if not."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path, nargs="?")
    parser.add_argument("text", choices=TEXTS, nargs="?")
    parser.add_argument("--child", choices=(OURS,))
    parser.add_argument("--scratch", type=Path, help="where the data are made; a folder in it is removed at the end")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if given.child:
        fast = FastBpe.of(Tokenizer.from_file(str(given.directory / TOKENIZER)))
        report(work(texts_of(given.directory, given.text), lambda texts: (fast.encode(text).data for text in texts)))
        return 0
    with tempfile.TemporaryDirectory(dir=given.scratch) as scratch:
        workloads = measure(Path(scratch), given.rounds)
    return 0 if write_record("tokenize_text", workloads, packages=("tokenizers",), peers=("tokenizers",)) else 1


if __name__ == "__main__":
    sys.exit(main())
