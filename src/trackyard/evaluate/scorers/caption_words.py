"""Words of a caption by a plain rule, for the metric `cider_py`: where no Java is, and never under the name `cider`.

It comes close to the PTB tokenizer on plain captions and differs on contractions, abbreviations and numbers, which is
why values of the two metrics are not compared. Source: nine-datasets spec section 4.
"""

from __future__ import annotations

import re

_WORD = re.compile(r"'?\w+(?:[-.,]\w+)*")


def python_words(text: str) -> list[str]:
    """Lower-case runs of letters and digits; a hyphen, period or comma between two of them is kept inside."""
    return _WORD.findall(text.lower().replace("\u2019", "'"))
