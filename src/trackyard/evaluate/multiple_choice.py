"""Which option an answer chooses, by rule and never by chance.

Source: nine-datasets spec, the `mc` parser: the first rule that hits decides; where none hits the answer is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase

_OUTER = " \t\r\n.,:;!?\"'()[]"


def chosen_option(answer: str, options: Sequence[str]) -> int | None:
    """Index of the option that `answer` chooses, None if no rule decides. Letters beyond the options are ignored."""
    text = answer.strip()
    bare = text.strip(_OUTER).lower()
    plain = [option.strip(_OUTER).lower() for option in options]
    if not bare or not plain:
        return None
    if bare in plain:
        return plain.index(bare)
    capitals = ascii_uppercase[: len(plain)]
    either = f"[{capitals}{capitals.lower()}]"
    for pattern in (
        rf"[(\[]?({either})[)\].:]?$",
        rf"[(\[]?({either})[)\].:]\s",
    ):
        match = re.match(pattern, text)
        if match:
            return _index(match.group(1))
    for pattern in (
        rf"\(({either})\)",
        # A small letter before another word is an article ("the answer is a dog").
        rf"(?i:\banswer is|\boption)\s+\(?([{capitals}]\b|{either}\b(?!\s+\w))",
        # A capital on its own, but neither the pronoun I nor the article in "A dog".
        rf"\b(?!I\b)(?!A\s+[a-z])([{capitals}])\b",
    ):
        found = re.findall(pattern, text)
        if found:
            return _index(found[-1])
    named = [index for index, option in enumerate(plain) if option and _occurs(option, text.lower())]
    return named[0] if len(named) == 1 else None


def _occurs(option: str, text: str) -> bool:
    """Whether an option is in a text as words of its own: "1" does not occur in "10"."""
    return re.search(rf"(?<!\w){re.escape(option)}(?!\w)", text) is not None


def _index(letter: str) -> int:
    return ord(letter.upper()) - ord("A")
