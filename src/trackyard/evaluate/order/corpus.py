"""Graded sentences: chains of four, each sentence further along its axis than the one before.

13 axes x 18 topics = 234 chains, 702 pairs of neighbours. The texts were written for this project; who changes one
raises VERSION. An axis gives the sentence, a topic its nouns and its verb, so that the sentences of a chain differ in
their level only. A later level is as often shorter as longer, so that length does not tell them apart.
Source: pile-ffn spec section 9.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache

from trackyard.digest import digest_json

VERSION = 1
LEVELS = 4


@dataclass(frozen=True, slots=True)
class Topic:
    """What a chain speaks of. act: the infinitive of what the people do; things: what is counted."""

    place: str
    people: str
    fault: str
    act: str
    things: str


TOPICS = (
    Topic("the chemical store", "the storekeepers", "a leaking drum", "move the drums", "drums"),
    Topic("the school", "the teachers", "a blocked door", "open the gates", "desks"),
    Topic("the harbour", "the dock workers", "a loose mooring line", "unload the ship", "containers"),
    Topic("the hospital", "the nurses", "a mixed-up label", "change the dose", "beds"),
    Topic("the data centre", "the operators", "a failed fan", "restart the servers", "servers"),
    Topic("the farm", "the farm hands", "a broken fence", "spray the orchard", "crates"),
    Topic("the library", "the librarians", "a burst pipe", "lend the manuscripts", "volumes"),
    Topic("the building site", "the builders", "a cracked beam", "lift the beams", "bricks"),
    Topic("the bus depot", "the drivers", "a worn brake", "take the night route", "buses"),
    Topic("the laboratory", "the researchers", "a spoiled culture", "heat the flasks", "flasks"),
    Topic("the waterworks", "the engineers", "a stuck valve", "drain the basin", "pumps"),
    Topic("the bakery", "the bakers", "an overheated oven", "light the ovens", "loaves"),
    Topic("the airport", "the ground crews", "a faulty radar", "clear the runway", "suitcases"),
    Topic("the museum", "the curators", "a smoking lamp", "hang the paintings", "visitors"),
    Topic("the power station", "the technicians", "a shorted cable", "start the turbine", "meters"),
    Topic("the bank", "the clerks", "a forged cheque", "release the payment", "letters"),
    Topic("the printing house", "the printers", "a jammed press", "run the press", "posters"),
    Topic("the mountain hut", "the wardens", "a frayed rope", "cross the glacier", "blankets"),
)
FIT_TOPICS = 13
"""The first topics are fitted on: 169 chains. The others, 65 chains, are scored, and no direction has seen them."""

AXES: Mapping[str, tuple[str, str, str, str]] = {
    "severity": (
        "{fault} at {place} was a small nuisance, and work went on as usual.",
        "{fault} at {place} caused a delay of about an hour.",
        "{fault} at {place} did heavy damage and injured two people.",
        "{fault} at {place} was a disaster that cost the lives of nine people.",
    ),
    "safety_constraint": (
        "To {act} at {place}, wear and bring whatever you happen to like.",
        "To {act} at {place}, wear gloves if there is time for it.",
        "To {act} at {place}, always wear a helmet and work in pairs.",
        "To {act} at {place}, pass two inspections first, or do not begin.",
    ),
    "quantity": (
        "This morning there were hardly any {things} at {place}.",
        "This morning there were a few {things} at {place}.",
        "This morning there were hundreds of {things} at {place}.",
        "This morning there were many millions of {things} at {place}.",
    ),
    "certainty": (
        "It is barely conceivable that {people} will {act} today.",
        "It is possible that {people} will {act} today.",
        "It is very likely that {people} will {act} today.",
        "It is beyond all doubt that {people} will {act} today.",
    ),
    "urgency": (
        "Whenever it happens to suit them, {people} are to {act}.",
        "In the course of this month {people} are to {act}.",
        "Before noon today {people} are to {act}.",
        "Now, this very second, {people} are to {act}.",
    ),
    "specificity": (
        "At some time or other something or other went wrong around {place}.",
        "Last week something was out of order at {place}.",
        "On Tuesday {people} found {fault} at {place}.",
        "At 6:40 on Tuesday two of {people} found {fault} behind {place}.",
    ),
    "formality": (
        "Hey folks, {people} are gonna {act}, so yeah, heads up.",
        "Just so you know, {people} are going to {act} today.",
        "Please note that {people} intend to {act} today.",
        "Notice is hereby given that {people} shall {act} this day.",
    ),
    "obligation": (
        "It is left entirely to {people} whether they {act} or not.",
        "It would be kind of {people} to {act}.",
        "It is expected of {people} that they {act}.",
        "The law compels {people} to {act}.",
    ),
    "risk_disclosure": (
        "The notice at {place} praises the view and keeps quiet about {fault}.",
        "The notice at {place} hints that something could be amiss.",
        "The notice at {place} names {fault} as a risk.",
        "The notice at {place} explains whom {fault} can hurt, and how badly.",
    ),
    "permission": (
        "Under no circumstances are {people} allowed to {act}.",
        "With written consent {people} are allowed to {act}.",
        "During the day {people} are allowed to {act}.",
        "At any time and without asking, {people} are allowed to {act}.",
    ),
    "evidence_strength": (
        "Somebody once heard somebody else speak of {fault} at {place}.",
        "One visitor says that there was {fault} at {place}.",
        "Five witnesses agree that there was {fault} at {place}.",
        "Films and repeated tests prove that there was {fault} at {place}.",
    ),
    "confidentiality": (
        "The plan to {act} hangs at the gate for every passer-by to read.",
        "The plan to {act} is known to the staff and their families.",
        "The plan to {act} is confidential, and its copies are numbered.",
        "The plan to {act} is top secret.",
    ),
    "temporal_scope": (
        "For the next few seconds it is up to {people} to {act}.",
        "Until the evening it is up to {people} to {act}.",
        "For the whole year it is up to {people} to {act}.",
        "For all time to come it is up to {people} to {act}.",
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Chain:
    """Four sentences on one topic, weakest first. fit: directions are fitted on it; otherwise it is scored."""

    axis: str
    topic: str
    fit: bool
    sentences: tuple[str, ...]


@cache
def chains() -> tuple[Chain, ...]:
    """All chains, axis by axis."""
    return tuple(
        Chain(
            axis=axis,
            topic=topic.place,
            fit=number < FIT_TOPICS,
            sentences=tuple(_sentence(template, topic) for template in templates),
        )
        for axis, templates in AXES.items()
        for number, topic in enumerate(TOPICS)
    )


def sentences() -> list[str]:
    """All of them: those of chain c at 4 c … 4 c + 3."""
    return [sentence for chain in chains() for sentence in chain.sentences]


def pairs(*, fit: bool) -> list[tuple[int, int]]:
    """Places (weaker, stronger) in `sentences()` of all neighbours in the chains of one part; three a chain."""
    return [
        (LEVELS * number + level, LEVELS * number + level + 1)
        for number, chain in enumerate(chains())
        for level in range(LEVELS - 1)
        if chain.fit is fit
    ]


def digest() -> str:
    """blake3 of the sentences, their order and their split."""
    return digest_json({"version": VERSION, "chains": [asdict(chain) for chain in chains()]})


def _sentence(template: str, topic: Topic) -> str:
    text = template.format(**asdict(topic))
    return text[0].upper() + text[1:]
