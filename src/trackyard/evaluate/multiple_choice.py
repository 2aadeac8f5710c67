"""Which option an answer chooses, by rule and never by chance.

Source: nine-datasets spec, the `mc` parser: the first rule that hits decides; where none hits the answer is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_OUTER = " \t\r\n.,:;!?\"'()[]"


def chosen_option(answer: str, options: Sequence[str]) -> int | None:
    """Index of the option that `answer` chooses, None if no rule decides. Letters beyond the options are ignored."""
    text = answer.strip()
    plain = [option.strip(_OUTER).lower() for option in options]
    if text.strip(_OUTER).lower() in plain:
        return plain.index(text.strip(_OUTER).lower())
    last = chr(ord("A") + len(options) - 1)
    either = f"[A-{last}a-{last.lower()}]"
    for pattern in (
        rf"^[(\[]?({either})[)\].:]?$",
        rf"^[(\[]?({either})[)\].:]\s",
    ):
        match = re.search(pattern, text)
        if match:
            return _index(match.group(1))
    for pattern in (
        rf"\(({either})\)",
        rf"(?:answer is|option)\s+\(?({either})\b",
        # A capital on its own, but neither the pronoun I nor the article in "A dog".
        rf"\b(?!I\b)(?!A [a-z])([A-{last}])\b",
    ):
        found = re.findall(pattern, text)
        if found:
            return _index(found[-1])
    named = [index for index, option in enumerate(plain) if option and option in text.lower()]
    return named[0] if len(named) == 1 else None


def _index(letter: str) -> int:
    return ord(letter.upper()) - ord("A")
