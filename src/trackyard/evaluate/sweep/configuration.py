"""Configurations: what is set on a model, the key that names what can change its answers, and the list of a sweep.

The key is of block indices and of the file that they come from, never of their number alone: two ways of leaving out
three blocks are two configurations. Source: nine-datasets spec sections 5 and 8.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from trackyard.digest import digest_json
from trackyard.errors import ConfigError, DataError
from trackyard.evaluate.sweep.levels import Point
from trackyard.evaluate.sweep.nested import kept
from trackyard.sealed import read_sealed, write_sealed

SCHEMA = "trackyard-sweep/1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Configuration:
    """Where the knobs stand; None for a knob that the model lacks. blocks: indices of those that run, rising."""

    visual: int | None = None
    experts: int | None = None
    blocks: tuple[int, ...] | None = None

    @property
    def depth(self) -> int | None:
        """How many blocks run."""
        return None if self.blocks is None else len(self.blocks)


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluated:
    """What all configurations of a sweep share, as far as it decides answers.

    model: digest of its weights and configuration. processor: settings of images besides the level of the knob.
    importance: digest of the scores by which blocks were chosen, None without that knob. prompts: digest of how
    questions are put.
    """

    model: str
    processor: Mapping[str, Any]
    precision: str
    prompts: str
    importance: str | None = None

    def document(self, configuration: Configuration) -> dict[str, Any]:
        """Everything that can change an answer. ConfigError for chosen blocks without the scores they come from."""
        if (configuration.blocks is None) is not (self.importance is None):
            raise ConfigError(
                what=f"blocks {configuration.blocks}, chosen by the importance scores {self.importance}",
                why="files of importance disagree, so a choice of blocks names its file, and no other one does",
                fix="measure the importance first: trackyard run nine importance",
            )
        return asdict(self) | {"knobs": asdict(configuration)}


def key(document: Mapping[str, Any]) -> str:
    """The name of a configuration of a model, 64 hex characters."""
    return digest_json(document)


def configurations(
    points: Iterable[Point], *, scores: Sequence[float | None] | None = None
) -> tuple[Configuration, ...]:
    """The points with the blocks that run. scores: importance of each block. ConfigError if blocks lack scores."""
    found = []
    for point in points:
        if point.blocks is not None and scores is None:
            raise ConfigError(
                what=f"{point.blocks} blocks are to run, and no importance of blocks is known",
                why="blocks that are left out at random are no scale of depth",
                fix="measure the importance first: trackyard run nine importance",
            )
        blocks = None if point.blocks is None or scores is None else kept(scores, point.blocks)
        found.append(Configuration(visual=point.visual, experts=point.experts, blocks=blocks))
    return tuple(found)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """What is measured.

    lists: levels by knob, those of blocks as counts. configurations: by key, in the order of the sweep.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    lists: Mapping[str, tuple[int, ...]]
    strategy: Annotated[str, Field(min_length=1)]
    evaluated: Evaluated
    configurations: Mapping[str, Configuration]

    @classmethod
    def of(
        cls,
        evaluated: Evaluated,
        chosen: Iterable[Configuration],
        *,
        lists: Mapping[str, tuple[int, ...]],
        strategy: str,
    ) -> Sweep:
        """The sweep over the configurations `chosen`, in their order; none of it has been measured."""
        named = {key(evaluated.document(each)): each for each in chosen}
        return cls(lists=lists, strategy=strategy, evaluated=evaluated, configurations=named)

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(self.configurations)

    def document(self, name: str) -> dict[str, Any]:
        """Everything that can change an answer of the configuration with the key `name`."""
        return self.evaluated.document(self.configurations[name])


_SWEEP = TypeAdapter(Sweep)


def write_sweep(path: Path, sweep: Sweep) -> None:
    """Write sweep.json."""
    body = asdict(sweep)
    # Keys of a JSON object are sorted when it is sealed: the order of the sweep is that of the list.
    write_sealed(path, SCHEMA, body | {"keys": list(sweep.keys)})


def read_sweep(path: Path, *, fix: str) -> Sweep:
    """DataError if the file is absent, was altered, or names a configuration otherwise than its content does."""
    body = read_sealed(path, SCHEMA, fix=fix)
    try:
        order = body.pop("keys")
        found = _SWEEP.validate_python(
            body | {"configurations": {name: body["configurations"][name] for name in order}}
        )
        wrong = [name for name in found.keys if key(found.document(name)) != name]
    except (ValidationError, KeyError) as error:
        raise DataError(what=f"{path} is no list of configurations: {error}", why="it lacks a part", fix=fix) from error
    if wrong or len(body["configurations"]) != len(order):
        raise DataError(
            what=f"{path}: {len(order)} keys for {len(body['configurations'])} configurations; "
            f"not of their content: {', '.join(wrong) or '-'}",
            why="answers are kept under these keys",
            fix=fix,
        )
    return found
