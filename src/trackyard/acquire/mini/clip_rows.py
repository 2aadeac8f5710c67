"""Rows about clips: captions, directions, choices, points when things appear, tracks at 1 frame/s."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from trackyard.acquire.mini.answer_rows import options_with
from trackyard.acquire.mini.clips import Clip, Mover, film
from trackyard.acquire.mini.draft import Draft, ask, chance, pick, point, sample
from trackyard.acquire.mini.drawing import COLOURS, SHAPES, SQUARE
from trackyard.acquire.mini.scene import ALL_LOOKS, Label, Look, label_of

DIRECTIONS = ("right", "left", "down", "up")
WORDING = {"right": "left to right", "left": "right to left", "down": "top to bottom", "up": "bottom to top"}
LATTICE = (12, 22, 32, 42, 52)
POST_HALF = 11
"""Half the width of a post: a shape of 16 to 18 px is gone behind it, and clear of it 20 px further on."""


def _until_clear(make: Callable[[], Clip]) -> Clip:
    while True:  # ends: every caller can draw clips whose shapes stay apart, with probability well above 0.1
        clip = make()
        if clip.clear():
            return clip


def _across(rng: np.random.Generator, look: Look, direction: str, seconds: float) -> Mover:
    """A shape that crosses the picture in `seconds`."""
    ends = (LATTICE[0], LATTICE[-1]) if direction in ("right", "down") else (LATTICE[-1], LATTICE[0])
    lane = pick(rng, LATTICE)
    stops = tuple((end, lane) if direction in ("left", "right") else (lane, end) for end in ends)
    return Mover(look, int(rng.integers(8, 11)) * 2, (0.0, seconds), stops)


def _still(rng: np.random.Generator, look: Look) -> Mover:
    return Mover(look, int(rng.integers(8, 10)) * 2, (0.0,), ((pick(rng, LATTICE), pick(rng, LATTICE)),))


def _moving(rng: np.random.Generator, index: int) -> tuple[Clip, str]:
    """One shape moving in a direction that the index balances, and every other time one that stays."""
    direction, seconds = DIRECTIONS[index // 4 % 4], pick(rng, (2.0, 2.5, 3.0))
    colours, shapes = sample(rng, tuple(COLOURS), 2), sample(rng, SHAPES, 2)
    first, second = Look(colours[0], shapes[0]), Look(colours[1], shapes[1])
    company = chance(rng, 0.5)

    def make() -> Clip:
        movers = (_across(rng, first, direction, seconds),)
        return Clip((*movers, _still(rng, second)) if company else movers, seconds)

    return _until_clear(make), direction


def clip_caption(rng: np.random.Generator, index: int) -> Draft:
    """What moves where, and what stays."""
    clip, direction = _moving(rng, index)
    text = f"A {clip.movers[0].look} moves from {WORDING[direction]}."
    if len(clip.movers) == 2:
        text += f" A {clip.movers[1].look} does not move."
    return Draft(media=(film(rng, clip),), conversations=(ask("", text),))


def clip_question(rng: np.random.Generator, index: int) -> Draft:
    """The direction of the moving shape."""
    clip, direction = _moving(rng, index)
    question = f"In which direction does the {clip.movers[0].look} move?"
    return Draft(media=(film(rng, clip),), conversations=(ask(question, direction),))


def clip_choice(rng: np.random.Generator, index: int) -> Draft:
    """Four options for the direction or the colour of the moving shape."""
    clip, direction = _moving(rng, index)
    colour = clip.movers[0].look.colour
    question, answer, others = (
        ("In which direction does the shape move?", direction, DIRECTIONS),
        ("What colour is the moving shape?", colour, tuple(COLOURS)),
    )[index // 16 % 2]
    options, right = options_with(rng, answer, others, index)
    return Draft(
        media=(film(rng, clip),),
        conversations=(ask(question, ""),),
        meta={"options": [options], "answer_index": [right]},
    )


def _points(clip: Clip, label: Label, times: Callable[[Mover], list[float]]) -> list[dict[str, Any]]:
    """Points at the movers that `label` names, at the times of each; ids by first time, then from left to right."""
    named = sorted((m for m in clip.movers if label.fits(m.look)), key=lambda m: (m.times[0], m.stops[0]))
    points = []
    for number, mover in enumerate(named, start=1):
        for t in times(mover):
            item = mover.at(t)
            if item is not None:
                points.append(point(item.box, SQUARE, media=0, t=t, id=number, occluded=clip.hidden(item)))
    return sorted(points, key=lambda p: (p["t"], p["id"]))


def appearance(rng: np.random.Generator, index: int) -> Draft:
    """One or two shapes appear at a multiple of 0.5 s and drift; each is pointed at where and when it appears."""
    seconds, looks = pick(rng, (2.0, 2.5, 3.0)), sample(rng, ALL_LOOKS, 1 + index % 2)

    def mover(look: Look) -> Mover:
        start, end = (int(n) for n in rng.integers(0, len(LATTICE) - 1, size=2))
        step = pick(rng, ((1, 0), (0, 1), (-1, 0), (0, -1)))
        born = pick(rng, (0.0, 0.5, 1.0))
        stops = ((LATTICE[start], LATTICE[end]), (LATTICE[start] + 10 * step[0], LATTICE[end] + 10 * step[1]))
        return Mover(look, int(rng.integers(8, 11)) * 2, (born, seconds), stops)

    clip = _until_clear(lambda: Clip(tuple(mover(look) for look in looks), seconds))
    label = label_of(rng, pick(rng, looks))
    return Draft(
        media=(film(rng, clip),),
        conversations=(ask("", ""),),
        meta={"points": [_points(clip, label, lambda m: [m.times[0]])], "label": [str(label)]},
    )


def tracking(rng: np.random.Generator, index: int) -> Draft:
    """Positions at every whole second of one or two shapes; every fourth time one passes behind a post."""
    if index % 4 == 3:
        clip = _behind_post(rng)
    else:
        seconds, looks = pick(rng, (2.0, 2.5, 3.0)), sample(rng, ALL_LOOKS, 1 + index % 2)
        clip = _until_clear(lambda: Clip(tuple(_wander(rng, look, seconds) for look in looks), seconds))
    label = label_of(rng, pick(rng, clip.movers).look)
    seconds_seen = [float(t) for t in clip.frame_times if t == int(t)]
    return Draft(
        media=(film(rng, clip),),
        conversations=(ask("", ""),),
        meta={"points": [_points(clip, label, lambda _: seconds_seen)], "label": [str(label)], "sampling_fps": 1},
    )


def _wander(rng: np.random.Generator, look: Look, seconds: float) -> Mover:
    """A shape that takes a step of 10 or 20 px along one axis every second."""
    stops = [(pick(rng, LATTICE), pick(rng, LATTICE))]
    for _ in range(int(np.ceil(seconds))):
        x, y = stops[-1]
        dx, dy = pick(rng, ((10, 0), (-10, 0), (0, 10), (0, -10), (20, 0), (-20, 0), (0, 20), (0, -20)))
        stops.append((x + dx, y + dy))
    return Mover(look, int(rng.integers(8, 10)) * 2, tuple(float(t) for t in range(len(stops))), tuple(stops))


def _behind_post(rng: np.random.Generator) -> Clip:
    """A shape goes straight across in two seconds, wholly hidden at the first by a post in the middle."""
    direction, seconds = pick(rng, DIRECTIONS), pick(rng, (2.5, 3.0))
    mover = _across(rng, pick(rng, ALL_LOOKS), direction, 2.0)
    middle = SQUARE[0] // 2
    across = (middle - POST_HALF, 0, middle + POST_HALF, SQUARE[1])
    post = across if direction in ("left", "right") else (across[1], across[0], across[3], across[2])
    return Clip((Mover(mover.look, 2 * min(mover.diameter // 2, 9), mover.times, mover.stops),), seconds, post)
