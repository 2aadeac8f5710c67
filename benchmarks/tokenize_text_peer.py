"""Peers of the benchmark of tokenising, in an environment without trackyard.

    python benchmarks/tokenize_text_peer.py --make DIRECTORY              # texts and the tokenizer
    python benchmarks/tokenize_text_peer.py --child "encode" DIRECTORY prose

prose is 13 MB of made-up language: words of syllables, drawn by Zipf's law from as many as give the share of distinct
pieces of English text; digits, quotes, hyphens, paragraphs, and one word in a hundred with letters beyond ASCII. code
is the first 13 MB of this Python's standard library. Source: performance spec sections 8.5, 10.2 (B6).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sysconfig
from array import array
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measured import report

BYTES = 13_000_000
TEXTS = ("prose", "code")
TOKENIZER = "tokenizer.json"
ENTRIES = 50_304
RUNS = range(24, 1, -1)
"""Runs of spaces that are tokens, as in GPT-NeoX's tokenizer."""
WORDS = 30_000
BATCH = 64
_ONSETS = ("", "b", "br", "c", "ch", "d", "f", "g", "h", "k", "l", "m", "n", "p", "pl", "r", "s", "st", "t", "th", "w")
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ea", "ou")
_ENDS = ("", "n", "r", "s", "t", "l", "nd", "ck", "m")
_BEYOND = ("é", "ü", "ñ", "\u0301", "中文", "и", "—", "😀")
_FORMS: tuple[tuple[float, Callable[[str, int], str]], ...] = (
    (0.05, lambda word, place: f"{word}."),
    (0.10, lambda word, place: f"{word},"),
    (0.11, lambda word, place: f'"{word}"'),
    (0.12, lambda word, place: f"{word}'s"),
    (0.13, lambda word, place: str(place % 2_100)),
    (0.14, lambda word, place: f"({word})"),
    (0.15, lambda word, place: f"{word}.\n\n"),
    (0.16, lambda word, place: word.capitalize()),
    (0.17, lambda word, place: word + _BEYOND[place % len(_BEYOND)]),
    (1.00, lambda word, place: word),
)


def prose(seed: int) -> Iterator[str]:
    """Documents of 300 to 1,500 words, `BYTES` or a little more in all."""
    rng = np.random.default_rng(seed)
    words = _words(np.random.default_rng(0))
    odds = 1 / (np.arange(len(words)) + 2.7)
    size = 0
    while size < BYTES:
        count = int(rng.integers(300, 1_500))
        places = rng.choice(len(words), size=count, p=odds / odds.sum()).tolist()
        kinds = rng.random(count).tolist()
        parts = (_form(words[place], place, kind) for place, kind in zip(places, kinds, strict=True))
        text = " ".join(parts).replace("\n\n ", "\n\n")
        size += len(text.encode())
        yield text


def _words(rng: Any) -> list[str]:
    syllables = [onset + vowel + end for onset in _ONSETS for vowel in _VOWELS for end in _ENDS]
    lengths = rng.choice([1, 2, 3, 4], p=[0.2, 0.4, 0.3, 0.1], size=2 * WORDS).tolist()
    made = ("".join(rng.choice(syllables, size=length)) for length in lengths)
    return list(dict.fromkeys(made))[:WORDS]


def _form(word: str, place: int, kind: float) -> str:
    return next(form for below, form in _FORMS if kind < below)(word, place)


def code() -> Iterator[str]:
    size = 0
    for path in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        if "site-packages" in path.parts:
            continue
        text = path.read_bytes().decode(errors="ignore")
        size += len(text.encode())
        yield text
        if size >= BYTES:
            return


def make(directory: Path) -> None:
    """The texts, and byte-level BPE as GPT-NeoX has it, trained on other prose and the code."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    found = {"prose": list(prose(1)), "code": list(code())}
    for name, texts in found.items():
        (directory / f"{name}.json").write_text(json.dumps(texts))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=ENTRIES - len(RUNS),
        special_tokens=["<|endoftext|>", "<|padding|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator((*prose(2), *found["code"]), trainer)
    tokenizer.add_tokens([AddedToken(" " * length, normalized=True, special=False) for length in RUNS])
    tokenizer.save(str(directory / TOKENIZER))


def texts_of(directory: Path, name: str) -> list[str]:
    texts: list[str] = json.loads((directory / f"{name}.json").read_text())
    return texts


def work(texts: list[str], encoded: Callable[[list[str]], Iterable[Any]]) -> Callable[[], tuple[float, Any]]:
    """What is timed: megabytes, and a digest of all ids. encoded: gives bytes of uint32, or ids."""
    megabytes = sum(len(text.encode()) for text in texts) / 1e6

    def timed() -> tuple[float, Any]:
        hasher = hashlib.sha256()
        for ids in encoded(texts):
            hasher.update(ids if isinstance(ids, memoryview) else array("I", ids))
        return megabytes, hasher.hexdigest()

    return timed


def one_by_one(tokenizer: Any, texts: list[str]) -> Iterator[list[int]]:
    return (tokenizer.encode(text, add_special_tokens=False).ids for text in texts)


def batches(tokenizer: Any, texts: list[str]) -> Iterator[list[int]]:
    for start in range(0, len(texts), BATCH):
        for found in tokenizer.encode_batch(texts[start : start + BATCH], add_special_tokens=False):
            yield found.ids


def fast_batches(tokenizer: Any, texts: list[str]) -> Iterator[list[int]]:
    for start in range(0, len(texts), BATCH):
        for found in tokenizer.encode_batch_fast(texts[start : start + BATCH], add_special_tokens=False):
            yield found.ids


WAYS = {"encode": one_by_one, "encode_batch": batches, "encode_batch_fast": fast_batches}


def main() -> None:
    from tokenizers import Tokenizer

    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("text", choices=TEXTS, nargs="?")
    parser.add_argument("--make", action="store_true")
    parser.add_argument("--child", choices=WAYS)
    given = parser.parse_args()
    if given.make:
        make(given.directory)
        return
    tokenizer = Tokenizer.from_file(str(given.directory / TOKENIZER))
    report(work(texts_of(given.directory, given.text), lambda texts: WAYS[given.child](tokenizer, texts)))


if __name__ == "__main__":
    main()
