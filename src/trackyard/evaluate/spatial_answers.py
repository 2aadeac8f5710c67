"""What a free answer to a spatial question says: yes or no, which region, how many metres, which hour of a clock.

Rules, never a judge: an answer that says two things, or nothing, is None, which counts as wrong and is counted apart.
Source: theworld spec sections 12.1 and 12.3; how SpatialRGPT-Bench words its questions and answers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

OPPOSITES: Mapping[str, str] = {
    "left": "right", "right": "left", "above": "below", "below": "above", "behind": "front", "front": "behind",
    "big": "small", "small": "big", "tall": "short", "short": "tall", "wide": "thin", "thin": "wide",
}  # fmt: skip
"""Relation of each category, `left` of left_predicate and left_choice, and what denies it."""
_WORDS: Mapping[str, str] = {
    "left": r"left", "right": r"right", "above": r"above|over|higher|on top", "below": r"below|under|beneath|lower",
    "behind": r"behind|backward|further|farther|at the back", "front": r"in front|forward|closer|nearer|before",
    "big": r"big|bigger|large|larger", "small": r"small|smaller", "tall": r"tall|taller", "short": r"short|shorter",
    "wide": r"wide|wider|broader", "thin": r"thin|thinner|narrow|narrower",
}  # fmt: skip
_YES = re.compile(r"\b(yes|yeah|yep|indeed|correct|true)\b")
_NO = re.compile(r"\b(no|nope|incorrect|false)\b")
_NOT = re.compile(r"\bnot\b|n't\b|\bnever\b")
_REGION = re.compile(r"\bregion\s*\[?\s*(\d+)\s*\]?", re.IGNORECASE)

_UNITS: Mapping[str, float] = {
    r"millimet(?:er|re)s?|mm": 0.001,
    r"centimet(?:er|re)s?|cms?": 0.01,
    r"kilomet(?:er|re)s?|km": 1000.0,
    r"met(?:er|re)s?|m": 1.0,
    r"inch(?:es)?|in|\"|″": 0.0254,
    r"f(?:ee|oo)t|ft|'|′": 0.3048,
    r"yards?|yd": 0.9144,
}
"""Metres of each unit."""
_NUMBER = r"\d+(?:,\d{3})+(?:\.\d+)?|\d*\.?\d+"
_UNIT = "|".join(_UNITS)
_LENGTH = re.compile(rf"(?P<value>{_NUMBER})\s*-?\s*(?P<unit>{_UNIT})(?![A-Za-z])", re.IGNORECASE)
_RANGE = re.compile(rf"(?:{_NUMBER})\s*(?:[-–—]|to|or)\s*(?:{_NUMBER})\s*(?:{_UNIT})(?![A-Za-z])", re.IGNORECASE)
_AGREE = 0.05
"""Relative difference up to which two lengths are one that is said in two units."""
_CLOCK = re.compile(r"\b(\d{1,2})(?::([0-5]\d))?\s*o\s*['’]?\s*clock", re.IGNORECASE)


def polarity(answer: str, relation: str) -> bool | None:
    """Whether an answer affirms that the relation of its question holds.

    What it begins with decides, "Indeed, ..." as "No, ..."; without such a word, whether the relation or its opposite
    is stated, "In fact, it might be narrower". relation: a key of `OPPOSITES`.
    """
    text = answer.strip().lower()
    opening = re.split(r"[,.;:!\n]", text, maxsplit=1)[0]
    yes, no = _YES.search(opening), _NO.search(opening)
    if yes and no:
        return None
    if yes or no:
        return (yes is not None) is not (yes is not None and _NOT.search(opening) is not None)
    stated = _states(text, relation), _states(text, OPPOSITES[relation])
    if stated[0] == stated[1]:
        return None
    return stated[0] is not (_NOT.search(text) is not None)


def chosen_region(answer: str, relation: str) -> int | None:
    """Number of the region that an answer says to be the left one, the taller one and so on.

    Of two regions, the first in "Region [1] is taller than Region [0]", and the second if it says "shorter".
    """
    named = list(_REGION.finditer(answer))
    numbers = list(dict.fromkeys(int(region.group(1)) for region in named))
    text = answer.lower()
    if len(numbers) == 1:
        denied = _NOT.search(text) or (_states(text, OPPOSITES[relation]) and not _states(text, relation))
        return None if denied else numbers[0]
    if len(numbers) != 2 or _NOT.search(text):
        return None
    second = next(region for region in named if int(region.group(1)) == numbers[1])
    between = text[named[0].end() : second.start()]
    own, other = _states(between, relation), _states(between, OPPOSITES[relation])
    return None if own == other else numbers[0 if own else 1]


def metres(answer: str) -> float | None:
    """The length that an answer states, in metres; None without a unit, for a range, or for lengths that disagree.

    "5 feet 6 inches" is one length.
    """
    # "Region 1 in front" states no inch.
    answer = _REGION.sub("region", answer)
    if _RANGE.search(answer):
        return None
    found: list[float] = []
    last_end, last_unit = -1, 0.0
    for match in _LENGTH.finditer(answer):
        unit = next(size for form, size in _UNITS.items() if re.fullmatch(form, match["unit"], re.IGNORECASE))
        length = float(match["value"].replace(",", "")) * unit
        joined = answer[last_end : match.start()].strip(" ,") in ("", "and")
        if found and joined and (last_unit, unit) in _PARTS:
            found[-1] += length
        else:
            found.append(length)
        last_end, last_unit = match.end(), unit
    if not found or max(found) - min(found) > _AGREE * max(found):
        return None
    return found[0]


_PARTS = ((0.3048, 0.0254), (1.0, 0.01))
"""Units of which the second goes on with what the first began: feet and inches, metres and centimetres."""


def relative_error(predicted: float, true: float) -> float:
    """abs(p - t) / t; infinite for a true length of 0 that is not met."""
    if true == 0:
        return 0.0 if predicted == 0 else float("inf")
    return abs(predicted - true) / true


def clock_degrees(answer: str) -> float | None:
    """Degrees clockwise from 12 of the one hour that an answer states, 0 to 360; None for none, several, or no hour."""
    found = {(int(hour), int(minutes or 0)) for hour, minutes in _CLOCK.findall(answer)}
    if len(found) != 1:
        return None
    hour, minutes = found.pop()
    return (hour % 12) * 30.0 + minutes / 2 if 1 <= hour <= 12 else None


def circular_difference(first: float, second: float) -> float:
    """Degrees between two directions, 0 to 180."""
    apart = abs(first - second) % 360.0
    return min(apart, 360.0 - apart)


def _states(text: str, relation: str) -> bool:
    return re.search(rf"\b(?:{_WORDS[relation]})\b", text) is not None
