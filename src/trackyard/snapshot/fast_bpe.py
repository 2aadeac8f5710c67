"""Byte-level BPE several times as fast as `tokenizers` on one core, with the same ids: text is cut, pieces are kept.

A text is cut where the tokenizer certainly cuts as well, and the ids of a piece are asked of the tokenizer once. Cuts
are made between ASCII characters alone, where the rules of GPT-2's pattern are few; everything else (letters beyond
ASCII, control characters, odd spaces, what NFC would join) stays whole with what surrounds it up to the next ASCII
space, and the tokenizer decides. Only tokenizers of that pattern are taken: GPT-2's, Pythia's, and those made here.
Source: performance spec section 8.5 (B6).
"""

from __future__ import annotations

import json
import re
from array import array
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from trackyard.errors import ConfigError

KEPT = 1 << 18
"""Pieces whose ids are kept, about 60 MB; beyond it all are forgotten and the frequent ones are soon back."""
LONGEST = 64
"""Characters of a piece that is kept: a longer one hardly comes back."""

_BLANK = "\u0120"
"""A space in byte-level vocabularies."""
_SPACE = r"\t-\r "
_MARK = r"!-/:-@\[-`{-~"
_ENDS = r"(?![^\t-\r -~])"
"""What follows is ASCII that is printed or a space, or nothing."""
_SHORT = r"'(?:[sdmt]|ll|ve|re)"
"""The pattern's own words, which it tries before all else."""
_WHOLE = re.compile(rf" ?(?:[A-Za-z]+|[{_MARK}]+)")
"""Pieces that the pattern does not divide, and whose characters but the space stand for their own bytes."""


def _pieces(longest_run: int) -> re.Pattern[str]:
    """Where to cut. longest_run: runs of two spaces and more, up to that many, are tokens; 1 where none is."""
    runs = (rf" {{2,{longest_run}}}(?! ){_ENDS}", r"[\t-\r]++(?=  )") if longest_run > 1 else ()
    return re.compile(
        "|".join(
            (
                rf" ?[A-Za-z]++{_ENDS}",
                rf"{_SHORT}{_ENDS}",
                rf"(?!{_SHORT}) ?[{_MARK}]++{_ENDS}",
                # Of a run of spaces before a word the last one is a piece of its own, if it is no blank.
                r"[\t-\r](?=[!-~])",
                rf" ?[0-9]++{_ENDS}",
                *runs,
                rf"[{_SPACE}]+(?=[\t-\r][!-~])",
                # Otherwise its division depends on what follows, and on which runs are tokens.
                rf"[{_SPACE}]{{2,}}+(?:[A-Za-z]++|(?!')[{_MARK}]++|[0-9]++){_ENDS}",
                # The rest, up to an ASCII space; after a character that may be a space itself, the run goes on.
                # Not a possessive group: Python before 3.11.5 leaves it too early (gh-106052), and nothing follows it.
                rf"[{_SPACE}]*+[^{_SPACE}]++(?:(?<=[^!-~])[{_SPACE}]++[^{_SPACE}]*+)*",
                rf"[{_SPACE}]++",
            )
        )
    )


class FastBpe:
    """Ids of texts by a tokenizer whose pipeline is GPT-2's. Special tokens spelled in a text stay text.

    Make it with `FastBpe.of`. One process and one thread: pieces that were met are kept inside.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._pieces = _pieces(_longest_run(tokenizer)).findall
        self._ids = _Ids(tokenizer).__getitem__

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> FastBpe:
        """ConfigError for a tokenizer that may cut elsewhere; `refusal` says why without raising."""
        reason = refusal(tokenizer)
        if reason is not None:
            raise ConfigError(
                what=f"a tokenizer with {reason}",
                why="text is cut by the rules of GPT-2's pattern here, and its ids would be others",
                fix="encode with tokenizers.Tokenizer.encode, which every tokenizer has",
            )
        return cls(plain_copy(tokenizer))

    def encode(self, text: str) -> NDArray[np.uint32]:
        """Ids [n], equal to those of `Tokenizer.encode(text, add_special_tokens=False)`."""
        return np.frombuffer(b"".join(map(self._ids, self._pieces(text))), dtype=np.uint32)


class _Ids(dict[str, bytes]):
    """Ids of a piece as bytes of uint32; the tokenizer is asked for those that are not kept."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self._encode, self._merge = tokenizer.encode, tokenizer.model.tokenize

    def __missing__(self, piece: str) -> bytes:
        if _WHOLE.fullmatch(piece):
            ids = array("I", [token.id for token in self._merge(piece.replace(" ", _BLANK))]).tobytes()
        else:
            ids = array("I", self._encode(piece, add_special_tokens=False).ids).tobytes()
        if len(piece) <= LONGEST:
            if len(self) >= KEPT:
                self.clear()
            self[piece] = ids
        return ids


def _longest_run(tokenizer: Tokenizer) -> int:
    """Spaces of the longest run that is a token, if all shorter ones are as well; else 1."""
    added = [token for token in tokenizer.get_added_tokens_decoder().values() if not token.special]
    found = {len(token.content) for token in added if not token.content.strip(" ")}
    return len(found) + 1 if found == set(range(2, len(found) + 2)) else 1


def plain_copy(tokenizer: Tokenizer) -> Tokenizer:
    """A copy that neither pads nor cuts, and for which special tokens spelled in a text are text."""
    plain = Tokenizer.from_str(tokenizer.to_str())
    plain.no_padding()
    plain.no_truncation()
    plain.encode_special_tokens = True
    return plain


def refusal(tokenizer: Tokenizer) -> str | None:
    """Why ids of this tokenizer cannot be had by pieces; None if they can."""
    body: dict[str, Any] = json.loads(tokenizer.to_str())
    normaliser, splitter, model = body["normalizer"], body["pre_tokenizer"], body["model"]
    if normaliser is not None and normaliser["type"] != "NFC":
        return f"normaliser {normaliser['type']}"
    # Digits that are cut off beforehand are one more cut, and none of ours falls away.
    *before, last = splitter["pretokenizers"] if splitter and splitter["type"] == "Sequence" else [splitter]
    other = [step for step in before if step["type"] != "Digits"]
    if other or last is None or last["type"] != "ByteLevel" or last["add_prefix_space"] or not last["use_regex"]:
        return f"pre-tokenizer {json.dumps(splitter)}"
    if model["type"] != "BPE":
        return f"model {model['type']}"
    for setting in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(setting):
            return f"{setting}={model[setting]!r}"
    for token in body["added_tokens"]:
        # Runs of spaces are never cut. Special ones are not looked for.
        run = token["content"].strip(" ") == "" and len(token["content"]) > 1
        if not token["special"] and (not run or token["single_word"] or token["lstrip"] or token["rstrip"]):
            return f"added token {token['content']!r}"
    return None
