"""Which lettered option a generated answer names: one, or none that can be said. Never a fallback.

`multiple_choice.chosen_option` takes the last letter where an answer names several, as its own benchmarks do. Here an
answer that names two options names none. Source: theworld spec section 12.3.
"""

from __future__ import annotations

import re
from string import ascii_uppercase

_BARE = re.compile(r"[(\[]?([A-Za-z])[)\].:]?[.!]?")
"""All there is: A, a, (A), A., a), [B]."""
_NAMED = (
    re.compile(r"[(\[]([A-Za-z])[)\]]"),
    re.compile(r"(?<![\w(\[])([A-Za-z])\)"),
    # A capital on its own, but not the article in "A dog" and not the pronoun I.
    re.compile(r"(?<![\w(\['])(?!I\b)(?!A\s+(?!(?:and|or|nor|but|is|because)\b)[a-z])([A-Z])(?![\w)\]'])"),
)


def named_option(answer: str, options: int) -> int | None:
    """Index of the one option that an answer names by its letter; None for none, several, or one that there is not."""
    text = answer.strip()
    bare = _BARE.fullmatch(text)
    letters = [bare.group(1)] if bare else [letter for form in _NAMED for letter in form.findall(text)]
    named = {ascii_uppercase.index(letter.upper()) for letter in letters}
    known = {index for index in named if index < options}
    # A letter beyond the options is a word like any other, unless it is the whole answer.
    return known.pop() if len(known) == 1 else None


def option_letter(index: int) -> str:
    """ "(A)", as BLINK writes its options and its answers."""
    return f"({ascii_uppercase[index]})"
