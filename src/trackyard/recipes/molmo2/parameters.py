"""Typed parameters of the Molmo2 track, composed from those of the parts. Source: molmo2 spec section 2."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from trackyard.evaluate.validation import Metric
from trackyard.feed.bad_rows import Policy
from trackyard.feed.frames import VideoParameters
from trackyard.feed.geometry import VisionGeometry
from trackyard.feed.layout import FeedParameters
from trackyard.feed.points import PointFormat
from trackyard.launch.watchdog import WatchdogParameters
from trackyard.models.molmo2_parameters import COMPONENTS, ModelParameters
from trackyard.parameters import Parameters, parse_parameters, read_layered
from trackyard.plan.mixture import MixtureParameters
from trackyard.train.guard_parameters import GuardParameters
from trackyard.train.parameters import EngineParameters, OptimiserParameters

StageName = Literal["stage1", "stage2", "stage3"]
TRAINING_IMAGES, EVALUATION_IMAGES = 5, 20
"""Images of a row that are shown at most (molmo2 spec section 5)."""
STAGES: tuple[StageName, ...] = ("stage1", "stage2", "stage3")


class StageParameters(Parameters):
    """What one stage trains on, for how long, and at which rates."""

    steps: int = Field(ge=1)
    packs_per_step: int = Field(ge=1)
    """B: packs of the global batch."""
    max_tokens: int = Field(ge=64)
    """L: tokens per pack."""
    max_inputs: int = Field(ge=1)
    """I: crops and frames per pack."""
    input_weight: int = Field(ge=0)
    """Worth of a visual input, in tokens, when rows are chosen for a pack."""
    video: VideoParameters
    point_format: PointFormat
    mixture: MixtureParameters
    optimiser: OptimiserParameters
    save_every: int = Field(ge=1)
    """Updates between checkpoints."""
    engine: dict[str, Any] = Field(default={})
    """What of the track's `engine` is otherwise in this stage: longer packs want other settings than short ones."""

    @model_validator(mode="after")
    def _every_component_has_a_rate(self) -> Self:
        if set(self.optimiser.rates) != set(COMPONENTS):
            raise ValueError(
                f"optimiser.rates must name exactly {list(COMPONENTS)}, found {sorted(self.optimiser.rates)}"
            )
        return self


class ValidationParameters(Parameters):
    """Which datasets each score is over, and how answers are generated. A metric without datasets is not measured."""

    datasets: dict[Metric, tuple[str, ...]]
    limit: int = Field(default=64, ge=1)
    """Conversations per dataset at most."""
    batch: int = Field(default=32, ge=1)
    new_tokens: dict[Metric, int]
    """Longest answer, in tokens."""

    @property
    def scored(self) -> frozenset[str]:
        """Datasets of any score."""
        return frozenset(name for names in self.datasets.values() for name in names)

    @model_validator(mode="after")
    def _every_metric_is_complete(self) -> Self:
        if set(self.datasets) != set(self.new_tokens):
            raise ValueError(f"datasets names {sorted(self.datasets)}, new_tokens names {sorted(self.new_tokens)}")
        empty = [metric for metric, names in self.datasets.items() if not names]
        if empty:
            raise ValueError(f"{empty} are to be scored on no dataset; leave them out of datasets and new_tokens")
        return self


class Molmo2Parameters(Parameters):
    """The track: what all stages share, and the three stages."""

    snapshot: Path
    seed: int = Field(default=0, ge=0)
    max_bad_rows: float = Field(default=0.001, ge=0.0, le=1.0)
    """Share of rows that may fail to decode before the run stops."""
    on_bad_row: Policy = "skip"
    """What a row that fails to decode does: it keeps its place without loss, or ends the run."""
    strict: bool = False
    """Stop when the mixture names a dataset that is absent."""
    model: ModelParameters
    geometry: VisionGeometry
    pointing_crops: int = Field(default=24, ge=1)
    """K of the image-pointing rows that are drawn to be shown at high resolution."""
    engine: EngineParameters
    guard: GuardParameters = GuardParameters()
    watchdog: WatchdogParameters = WatchdogParameters()
    processes: int = Field(default=1, ge=1)
    """Data-parallel processes on this machine."""
    validation: ValidationParameters
    stage1: StageParameters
    stage2: StageParameters
    stage3: StageParameters

    @model_validator(mode="after")
    def _every_stage_has_an_engine(self) -> Self:
        for name in STAGES:
            unknown = set(self.stage(name).engine) - set(EngineParameters.model_fields)
            if unknown:
                raise ValueError(
                    f"{name}.engine names {sorted(unknown)}; known: {sorted(EngineParameters.model_fields)}"
                )
            self.engine_of(name)
        return self

    def engine_of(self, name: StageName) -> EngineParameters:
        """How the steps of a stage are computed."""
        changed = self.stage(name).engine
        return EngineParameters.model_validate(self.engine.model_dump() | changed) if changed else self.engine

    def stage(self, name: StageName) -> StageParameters:
        """Parameters of one stage."""
        stages: dict[StageName, StageParameters] = {"stage1": self.stage1, "stage2": self.stage2, "stage3": self.stage3}
        return stages[name]

    def feed(self, name: StageName, *, evaluation: bool = False) -> FeedParameters:
        """How rows become tokens in a stage; `evaluation` fixes templates and lengths."""
        stage = self.stage(name)
        return FeedParameters(
            geometry=self.geometry,
            video=stage.video,
            point_format=stage.point_format,
            stage1=name == "stage1",
            evaluation=evaluation,
            max_images=EVALUATION_IMAGES if evaluation else TRAINING_IMAGES,
            pointing_crops=self.pointing_crops,
            max_tokens=stage.max_tokens,
            max_inputs=stage.max_inputs,
            loss_weights=stage.mixture.loss_weights,
            seed=self.seed,
        )

    def identity(self, name: StageName) -> dict[str, Any]:
        """What of these parameters determines a stage's result.

        How a step is spread over micro-batches, threads and processes changes rounding only: a run may be continued
        under another spread.
        """
        values = self.model_dump(mode="json", exclude={"stage1", "stage2", "stage3", "processes", "engine", "watchdog"})
        engine = self.engine_of(name).model_dump(mode="json", include={"precision"})
        stage = self.stage(name).model_dump(mode="json", exclude={"save_every", "engine"})
        return values | {"engine": engine, "stage": stage}


def load_molmo2(path: Path, *, base: str | None = None) -> Molmo2Parameters:
    """Read the track's parameters from a parameter file; ConfigError names what is wrong in it.

    base: the value set to take instead of the one that a profile extends.
    """
    values = read_layered(path, base=base).get("molmo2")
    return parse_parameters(Molmo2Parameters, values, where=f"{path.name}: molmo2")
