"""What a stage asks of a machine, in plain numbers: the model's parts, the packs of a step, and how they are computed.

A recipe makes one from its typed parameters; nothing here knows a track.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from trackyard.errors import ConfigError
from trackyard.estimate.kept import Kept
from trackyard.plan.context import check_degree, padded_length
from trackyard.train.flops import Gradient, Work
from trackyard.train.parameters import EngineParameters, accumulation


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A component of the model in memory.

    positions: of a pack at most, that pass through its layers. kept: None where it has none.
    """

    name: str
    parameters: int
    gradient: Gradient
    layers: int = 0
    positions: float = 0
    kept: Kept | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Attended:
    """The layers whose packs a context-parallel group divides. length: L, tokens of a pack."""

    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    length: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """One stage.

    useful, computed: a step on all ranks together, as MFU counts it and as it is executed, padding and masked pairs
    included. tokens: of a step, without padding. pack_bytes: other tensors of a pack that the device holds at most.
    logits: positions with logits per pack, at most. mask_bytes: of a pack. data_s: CPU seconds to decode a step.
    batch_bytes: of a decoded pack in host memory. state_bytes: of a checkpoint, per trained parameter.
    """

    track: str
    stage: str
    preset: str
    lengths: str
    """Where the lengths come from, in words."""
    parts: tuple[Part, ...]
    attended: Attended
    useful: tuple[Work, ...]
    computed: tuple[Work, ...]
    tokens: float
    packs_per_step: int
    steps: int
    save_every: int
    vocab: int
    logits: float
    pack_bytes: float
    mask_bytes: float
    batch_bytes: float
    data_s: float
    engine: EngineParameters
    world: int
    autocast: bool = False
    """Weights stay in fp32 and products run in bf16 (the Pile-FFN and TheWorld tracks)."""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """ConfigError where packs, ranks and heads do not divide."""
        degree = self.engine.context_degree
        if self.world % degree:
            raise ConfigError(
                what=f"{self.world} ranks are not whole groups of context_degree={degree}",
                why="every pack is shared by one group",
                fix="ask for a multiple of engine.context_degree GPUs",
            )
        accumulation(self.packs_per_step, self.engine.micro_batch, self.data_ranks)
        check_degree(
            degree,
            heads=self.attended.heads,
            kv_heads=self.attended.kv_heads,
            length=padded_length(self.attended.length, degree, 1),
            world=self.world,
            ranks=self.data_ranks,
        )

    @property
    def data_ranks(self) -> int:
        return self.world // self.engine.context_degree

    @property
    def micro_batches(self) -> int:
        """Of a rank in one step."""
        return self.packs_per_step // (self.engine.micro_batch * self.data_ranks)

    @property
    def parameters(self) -> int:
        return sum(part.parameters for part in self.parts)

    @property
    def trained(self) -> int:
        return sum(part.parameters for part in self.parts if part.gradient == "trained")

    @property
    def number_bytes(self) -> int:
        """Bytes of a number in the forward pass."""
        return 2 if self.autocast or self.engine.precision == "bf16" else 4

    def changed(self, *, world: int | None = None, **engine: Any) -> Workload:
        """The same stage, spread otherwise; ConfigError or ValueError where that is not possible."""
        values = EngineParameters.model_validate(self.engine.model_dump() | engine)
        return replace(self, engine=values, world=self.world if world is None else world)


@dataclass(frozen=True, kw_only=True, slots=True)
class Lengths:
    """Means per step, all ranks together, as a plan has them. visual: visual tokens; labels: positions with a loss."""

    tokens: float
    visual: float
    inputs: float
    labels: float
    rows: float
    source: str

    @classmethod
    def of_totals(cls, totals: Mapping[str, Any], *, source: str) -> Lengths:
        """From the `totals` of a plan's summary."""
        steps = totals["steps"]
        return cls(
            tokens=totals["tokens"] / steps,
            visual=totals["visual_tokens"] / steps,
            inputs=totals["inputs"] / steps,
            labels=totals["label_tokens"] / steps,
            rows=totals["rows"] / steps,
            source=source,
        )
