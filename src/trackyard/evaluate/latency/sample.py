"""Which questions latency is measured on. Source: nine-datasets spec section 7."""

from __future__ import annotations

from collections.abc import Mapping

from trackyard.digest import digest_json
from trackyard.errors import ConfigError


def stratified_sample(visual_tokens: Mapping[str, int], n: int, seed: int) -> list[str]:
    """`n` ids, or all if there are fewer, in which every range of visual tokens has its share, to one id.

    visual_tokens: realised, by id, under one configuration for all, so that all get the same ids. The ids are put in
    order of their tokens and taken at even distances; among equals, and for the order of the result, seed and id
    decide. A function of its arguments: the order of the mapping does not matter.
    """
    if n < 1:
        raise ConfigError(
            what=f"{n} latency samples",
            why="a configuration without any has no latency",
            fix="set nine.latency.samples in params.yaml to a positive number",
        )
    drawn = {name: digest_json(["latency", seed, name]) for name in visual_tokens}
    ordered = sorted(visual_tokens, key=lambda name: (visual_tokens[name], drawn[name]))
    if n < len(ordered):
        ordered = [ordered[(2 * number + 1) * len(ordered) // (2 * n)] for number in range(n)]
    return sorted(ordered, key=drawn.__getitem__)
