"""The answer in what a model wrote. Source: nine-datasets spec section 4."""

from __future__ import annotations

import re
from collections.abc import Collection

MARK = "Answer:"


def extracted(text: str, special: Collection[str] = ()) -> str:
    """What follows the last `Answer:`, else the last line that is not empty; stripped, without special tokens.

    special: texts of tokens that are no part of an answer; where one begins with another, the longer one is taken out.
    """
    if special:
        longest_first = sorted((token for token in special if token), key=len, reverse=True)
        text = re.sub("|".join(map(re.escape, longest_first)), "", text)
    _, mark, after = text.rpartition(MARK)
    if mark:
        return after.strip()
    return text.strip().rpartition("\n")[2].strip()
