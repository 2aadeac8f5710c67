"""Typed parameters of the nine-dataset evaluation, and which sections decide which stage. Torch is not imported.

Source: nine-datasets spec sections 1 and 5 to 7.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from trackyard.parameters import Parameters, parse_parameters, read_layered
from trackyard.recipes.nine.made.parameters import MadeModelParameters

NINE = (
    "coco_2014_vqa",
    "text_vqa",
    "okvqa",
    "science_qa_img",
    "st_qa",
    "doc_qa",
    "tally_qa",
    "mmmu",
    "coco_caption",
)  # fmt: skip
Strategy = Literal["full", "balanced", "stratified", "boundary", "custom_sparse", "lhs"]
Ending = Literal["natural", "forced"]


class FixtureParameters(Parameters):
    """The nine data sets in miniature, in the layouts of the real ones."""

    seed: int = Field(default=0, ge=0)
    evaluated: int = Field(default=24, ge=4)
    """Questions of each data set, about."""


class DataParameters(Parameters):
    """Where the data sets lie. Exactly one of the two is set."""

    fixture: FixtureParameters | None = None
    staged: Path | None = None
    """What `trackyard data sync nine --to` wrote, below the repository or absolute."""
    folders: dict[str, Path] = Field(default_factory=dict)
    """Of tasks whose questions lie elsewhere: a snapshot, or local files."""
    limit: int | None = Field(default=None, ge=1)
    """Questions of each task at most, drawn by a key of their ids."""
    samples: dict[str, int] = Field(default_factory=dict)
    """The same for single tasks."""
    seed: int = Field(default=0, ge=0)
    """Of that draw."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.fixture is None) is (self.staged is None):
            raise ValueError("data.fixture or data.staged: exactly one of them")
        return self


class ModelParameters(Parameters):
    """What is evaluated: a folder in the Hugging Face layout, or the small model that the project trains."""

    folder: Path | None = None
    """Of a Molmo2, Gemma 3 or causal language model, below the repository or absolute."""
    made: MadeModelParameters | None = None
    precision: Literal["fp32", "bf16"] = "fp32"

    @model_validator(mode="after")
    def _one_model(self) -> Self:
        if (self.folder is None) is (self.made is None):
            raise ValueError("model.folder or model.made: exactly one of them")
        return self


class KnobParameters(Parameters):
    """Levels of what is turned, and which of their combinations are measured (spec section 5)."""

    visual: tuple[int, ...] | None = None
    """High-resolution crops of an image at most (Molmo2), or crops besides the whole picture (Gemma 3)."""
    experts: tuple[int, ...] | None = None
    """Per token; only of a model that has routed experts."""
    blocks: tuple[float, ...] | None = None
    """Share of the decoder blocks that run, the most important ones."""
    strategy: Strategy = "balanced"
    points: int = Field(default=18, ge=1)
    """Of the Latin hypercube."""
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _levels(self) -> Self:
        for name in ("visual", "experts", "blocks"):
            levels = getattr(self, name)
            if levels is not None and (not levels or list(levels) != sorted(set(levels))):
                raise ValueError(f"knobs.{name}={list(levels)}: levels rise, and there is at least one")
        return self


class AccuracyParameters(Parameters):
    """Accuracy of every configuration (exp5)."""

    batch: int = Field(default=32, ge=1)
    """Answers under way at once; it changes no answer."""
    chunk: int = Field(default=256, ge=1)
    """Questions whose prompts are held in memory, and whose answers are put on disk together."""
    most_failed: int = Field(default=0, ge=0)
    """Questions of a task that may fail, each of them recorded."""
    most_capped: float = Field(default=0.01, ge=0.0, le=1.0)
    """Share of the answers of a configuration that may end at the cap of their task; more ends `compare`, which shows
    it first."""


class LatencyParameters(Parameters):
    """Latency of every configuration at batch 1 (exp6)."""

    samples: int = Field(default=500, ge=1)
    """Of each task, the same for every configuration."""
    ending: Ending = "natural"
    forced_tokens: int = Field(default=16, ge=1)
    """Length of every answer where `ending` is forced."""
    warmup: int = Field(default=3, ge=3)
    """Samples at least before those that count."""
    seed: int = Field(default=0, ge=0)


class ImportanceParameters(Parameters):
    """How much each block matters, measured on training rows and never on what is evaluated."""

    rows: int = Field(default=256, ge=1)
    snapshot: Path | None = None
    """Whose training rows are taken, below the repository; of a made model the rows of the miniature."""
    datasets: tuple[str, ...] = ()
    """Of the snapshot; all of it where none is named."""
    file: Path | None = None
    """Scores that are there already, below the repository; None measures them."""


class NineParameters(Parameters):
    """The track."""

    tasks: tuple[str, ...] = NINE
    data: DataParameters
    model: ModelParameters
    knobs: KnobParameters = KnobParameters()
    accuracy: AccuracyParameters = AccuracyParameters()
    latency: LatencyParameters = LatencyParameters()
    importance: ImportanceParameters = ImportanceParameters()
    threads: int = Field(default=1, ge=1)
    """CPU threads of one process."""
    resamples: int = Field(default=2_000, ge=100)
    partial: bool = False
    """Show what there is although something is missing; everything that is shown says so."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.tasks)) != len(self.tasks) or not self.tasks:
            raise ValueError(f"tasks={list(self.tasks)} names one twice, or none")
        unknown = sorted({*self.data.samples, *self.data.folders} - set(self.tasks))
        if unknown:
            raise ValueError(f"data.samples or data.folders names {', '.join(unknown)}, which is not among tasks")
        return self

    def sections(self, result: str) -> dict[str, Any]:
        """What of these parameters decides a result, by section."""
        values = self.model_dump(mode="json", include=set(SECTIONS[result]))
        for name, spread in _HOW.items():
            for key in spread if name in values else ():
                values[name].pop(key, None)
        return values


_HOW = {"accuracy": ("batch", "chunk")}
"""How a result is computed, not what it is."""
_QUESTIONS = ("tasks", "data")
SECTIONS: dict[str, tuple[str, ...]] = {
    "data": _QUESTIONS,
    "model": ("model", "data"),
    "importance": (*_QUESTIONS, "model", "importance", "knobs"),
    "sweep": (*_QUESTIONS, "model", "importance", "knobs"),
    "accuracy": (*_QUESTIONS, "model", "importance", "knobs", "accuracy", "resamples"),
    "latency": (*_QUESTIONS, "model", "importance", "knobs", "latency", "resamples"),
    "compare": (*_QUESTIONS, "model", "importance", "knobs", "accuracy", "latency", "resamples", "partial"),
}
"""Sections of nine that decide each result, which states the digest of them."""


def load_nine(path: Path, *, base: str | None = None) -> NineParameters:
    """Read the track's parameters from a parameter file; ConfigError names what is wrong in it.

    base: the value set to take instead of the one that a profile extends.
    """
    values = read_layered(path, base=base).get("nine")
    return parse_parameters(NineParameters, values, where=f"{path.name}: nine")
