"""Four kinds of text that the project makes itself: prose, code, tables and dialogue.

Each has regularities of several reaches, so that a small model keeps learning: letters of few words, fixed phrases,
and facts of a document that come back in it (a name, a place, a column's sum). They differ in how much is fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from trackyard.acquire.mini.draft import pick, sample

NAMES = ("Ada", "Bela", "Carl", "Dina", "Emil", "Fara", "Gero", "Hana", "Ivo", "Jana", "Karo", "Lior", "Mina", "Noor")
PLACES = ("harbour", "mill", "station", "orchard", "library", "quarry", "bridge", "workshop", "lighthouse", "market")
THINGS = ("lamp", "rope", "ledger", "kettle", "wheel", "map", "basket", "clock", "ladder", "whistle", "lens", "barrel")
TRADES = ("miller", "carpenter", "pilot", "gardener", "printer", "weaver", "mason", "baker", "clerk", "tinker")
WEATHER = ("rain", "fog", "snow", "wind", "frost", "sunshine")
TIMES = ("in the morning", "at noon", "before dusk", "after supper", "on the last day of the month", "early in spring")
STATES = ("old", "heavy", "broken", "polished", "borrowed", "small", "painted", "lost")
NOUNS = ("price", "weight", "count", "length", "level", "score", "delay", "share")
UNITS = ("box", "sack", "sheet", "coil", "plank", "jar", "tile", "spool")
OPERATIONS = (("add", "+"), ("subtract", "-"), ("multiply", "*"))

Draw = np.random.Generator


def prose(rng: Draw) -> Iterator[str]:
    """Paragraphs about two people and one thing, which every paragraph names again."""
    (who, other), (home, away) = sample(rng, NAMES, 2), sample(rng, PLACES, 2)
    thing, state, trade = pick(rng, THINGS), pick(rng, STATES), pick(rng, TRADES)
    yield (
        f"{who} the {trade} lived near the {home} and owned one {state} {thing}. "
        f"Everybody at the {home} knew the {thing}, and nobody knew it better than {other}."
    )
    while True:
        sentences = (
            f"There was {pick(rng, WEATHER)} {pick(rng, TIMES)}, and {who} stayed at the {home}.",
            f"{other} walked from the {home} to the {away} to ask about the {thing}.",
            f'"A {state} {thing} is still a {thing}," said {pick(rng, (who, other))}.',
            f"The {trade} carried the {thing} to the {away}, where {other} was waiting.",
            f"Between the {home} and the {away} they met {pick(rng, NAMES)}, who had seen no {thing} for years.",
            f"{pick(rng, TIMES).capitalize()} the {away} was empty, and {who} put the {state} {thing} back.",
            f"{other} thanked {who}, because a {trade} with a {pick(rng, THINGS)} and a {thing} is never poor.",
        )
        chosen = rng.choice(len(sentences), size=int(rng.integers(2, 5)), replace=False)
        yield " ".join(sentences[number] for number in chosen)


def code(rng: Draw) -> Iterator[str]:
    """Small functions over one record type; a body follows from the name of its function."""
    kind, (first, second) = pick(rng, UNITS), sample(rng, NOUNS, 2)
    yield (
        f'"""Figures of one {kind}: {first} and {second}."""\n\n\nclass {kind.capitalize()}:\n'
        f"    def __init__(self, {first}, {second}):\n        self.{first} = {first}\n        self.{second} = {second}"
    )
    while True:
        field = pick(rng, (first, second))
        limit = int(rng.integers(2, 100))
        (name, sign), number = OPERATIONS[int(rng.integers(3))], int(rng.integers(2, 10))
        yield pick(
            rng,
            (
                f"\ndef total_{field}({kind}s):\n    total = 0\n    for {kind} in {kind}s:\n"
                f"        total += {kind}.{field}\n    return total",
                f"\ndef {kind}s_above_{limit}({kind}s):\n"
                f"    return [{kind} for {kind} in {kind}s if {kind}.{field} > {limit}]",
                f"\ndef {name}_{number}_to_{field}({kind}):\n    {kind}.{field} = {kind}.{field} {sign} {number}\n"
                f"    return {kind}",
                f"\ndef largest_{field}({kind}s):\n    if not {kind}s:\n        return None\n"
                f"    return max({kind}.{field} for {kind} in {kind}s)",
            ),
        )


def tables(rng: Draw) -> Iterator[str]:
    """Lines of a stock list: the amount is count times price, and every fifth line the sum so far."""
    place, year = pick(rng, PLACES), int(rng.integers(1900, 2000))
    yield f"# stock of the {place}, {year}\nline | item    | unit  | count | price | amount"
    line = total = 0
    while True:
        rows = []
        for _ in range(5):
            line += 1
            count, price = int(rng.integers(1, 20)), int(rng.integers(1, 10))
            total += count * price
            item, unit = pick(rng, THINGS), pick(rng, UNITS)
            rows.append(f"{line:4d} | {item:7s} | {unit:5s} | {count:5d} | {price:5d} | {count * price:6d}")
        yield "\n".join((*rows, f"     | sum     |       |       |       | {total:6d}"))


def dialogue(rng: Draw) -> Iterator[str]:
    """Two speakers in turn; what is told once is asked for later, with the same answer."""
    (asks, tells), (here, there) = sample(rng, NAMES, 2), sample(rng, PLACES, 2)
    thing, other = sample(rng, THINGS, 2)
    when = pick(rng, TIMES)
    yield f"{asks}: Good day, {tells}. I am looking for a {thing}.\n{tells}: Good day, {asks}. It is at the {here}."
    while True:
        price = int(rng.integers(2, 50))
        yield pick(
            rng,
            (
                f"{asks}: Where is the {thing}?\n{tells}: The {thing} is at the {here}.",
                f"{asks}: And the {other}?\n{tells}: The {other} is at the {there}, not at the {here}.",
                f"{asks}: When does the {there} open?\n{tells}: It opens {when}.",
                f"{asks}: What is the price of the {thing} today?\n{tells}: It is {price} coins.\n"
                f"{asks}: So two of them are {2 * price} coins.\n{tells}: Yes, {2 * price}.",
                f"{tells}: Do you know {pick(rng, NAMES)}?\n{asks}: No, I only know you, {tells}.",
            ),
        )


DOMAINS: Mapping[str, Callable[[Draw], Iterator[str]]] = {
    "prose": prose,
    "code": code,
    "tables": tables,
    "dialogue": dialogue,
}
"""By the name that documents carry as their component; each yields a document part by part, without an end."""
