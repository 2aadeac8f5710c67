"""Typed parameters of the DataComp track, and which sections decide which stage. Torch is not imported.

Source: theworld spec sections 2 to 12.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from trackyard.acquire.images.fetch import UrlImageParameters
from trackyard.catalog.entries import COMMIT, UNPINNED
from trackyard.launch.watchdog import WatchdogParameters
from trackyard.models.theworld.parameters import WorldParameters
from trackyard.parameters import Parameters, parse_parameters, read_layered
from trackyard.recipes.datacomp.cells import ARMS, BASE, Arm, Cell, Run, arm_named
from trackyard.recipes.datacomp.scenes import QUESTION
from trackyard.train.guard_parameters import GuardParameters
from trackyard.train.parameters import EngineParameters

Thawed = Literal["gemma_vision", "gemma_language"]


class MadeGemmaParameters(Parameters):
    """A tiny Gemma 3 that the project makes: random vision tower, language model pretrained on text of the scenes."""

    layers: int = Field(default=4, ge=2)
    """Every second one sees everything, the others a window."""
    hidden: int = Field(default=64, ge=16)
    heads: int = Field(default=4, ge=1)
    ffn: int = Field(default=192, ge=16)
    window: int = Field(default=64, ge=8)
    image_size: int = Field(default=32, ge=8)
    patch: int = Field(default=4, ge=2)
    soft_tokens: int = Field(default=16, ge=1)
    """Per image; a square number."""
    vocabulary: int = Field(default=384, ge=300)
    """Entries of the byte-level tokenizer; the table of embeddings has 64 rows more."""
    seed: int = Field(default=0, ge=0)
    steps: int = Field(default=800, ge=1)
    batch: int = Field(default=6, ge=1)
    """Scenes per step, each with a question of every form."""
    learning_rate: float = Field(default=5e-3, gt=0.0)


class GemmaParameters(Parameters):
    """The language model that looks at pictures: one of the hub at a commit, or one that is made."""

    id: str = "google/gemma-3-4b-it"
    revision: str | None = None
    """40 hex digits; None for a made model."""
    made: MadeGemmaParameters | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        _require_origin("gemma", self.revision, made=self.made is not None)
        return self


class MadeVaeParameters(Parameters):
    """A tiny Wan VAE that the project fits to its scenes."""

    size: int = Field(default=128, ge=16, multiple_of=8)
    """Pixels of its square input."""
    seed: int = Field(default=0, ge=0)
    """Of the scenes that it is fitted to."""
    steps: int = Field(default=300, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0.0)


class VaeParameters(Parameters):
    """The world encoder: the VAE folder of a published video model at a commit, or one that is made."""

    id: str = "nvidia/Cosmos-Predict2-2B-Video2World"
    subfolder: str = "vae"
    revision: str | None = None
    made: MadeVaeParameters | None = None
    size: int = Field(default=512, ge=16)
    """Pixels of its square input; a made one has its own."""
    least_psnr: float = Field(default=25.0, gt=0.0)
    """dB, of three pictures encoded and decoded."""
    batch: int = Field(default=8, ge=1)
    shard_images: int = Field(default=2048, ge=1)

    @property
    def pixels(self) -> int:
        return self.size if self.made is None else self.made.size

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        _require_origin("vae", self.revision, made=self.made is not None)
        return self


class SourceParameters(Parameters):
    """Where rows of addresses and captions come from.

    kind mini: the project's scenes behind a server of its own. hub: an entry of catalog/, as it was fetched. files:
    Parquet below the repository.
    """

    kind: Literal["mini", "hub", "files"] = "mini"
    entry: str = "datacomp-small"
    revision: str | None = None
    """Commit, where the entry pins none."""
    files: tuple[str, ...] = ()
    """Paths or patterns, for `files`."""
    columns: dict[Literal["uid", "url", "text", "sha256", "face_bboxes"], str] = Field(default_factory=dict)
    """Names of columns that differ from DataComp's."""
    mini_rows: int = Field(default=480, ge=1)
    seed: int = Field(default=0, ge=0)
    """Of the scenes."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.kind == "files") is (not self.files):
            raise ValueError("data.source.files: paths for kind files, and none elsewhere")
        if self.revision is not None and not COMMIT.fullmatch(self.revision):
            raise ValueError(f"data.source.revision={self.revision!r}: a commit of 40 hex digits, a branch moves")
        return self


class DataParameters(Parameters):
    """Which rows become samples (spec section 7)."""

    source: SourceParameters = SourceParameters()
    samples: int = Field(default=100_000, ge=1)
    """N: accepted samples that are trained on."""
    seed: int = Field(default=0, ge=0)
    """Of the order in which rows are taken."""
    planned_acceptance: float = Field(default=0.60, gt=0.0, le=1.0)
    block_rows: int = Field(default=16_384, ge=1)
    """Rows that are fetched into one directory: what one task of a job array takes at a time, and what is fetched at
    least where the planned rows did not suffice."""
    images: UrlImageParameters = UrlImageParameters(max_side=896, urls_per_shard=8192)
    allow_addresses: tuple[str, ...] = ()
    """Networks beside the public ones that may be asked; the mini source allows its own server."""


class TrainingParameters(Parameters):
    """Training of the projector (spec section 10)."""

    epochs: int = Field(default=3, ge=1)
    samples_per_step: int = Field(default=16, ge=1)
    """B."""
    learning_rate: float = Field(default=1e-4, gt=0.0)
    thawed_rates: dict[Thawed, float] = Field(default_factory=dict)
    """Rates of parts of Gemma that are trained as well; frozen without one."""
    expected_trainable: int | None = Field(default=None, ge=1)
    """Trained parameters, checked before step 1; needed where something is thawed."""
    warmup_steps: int = Field(default=500, ge=0)
    """Then linear to 0."""
    beta1: float = Field(default=0.9, ge=0.0, lt=1.0)
    beta2: float = Field(default=0.999, ge=0.0, lt=1.0)
    eps: float = Field(default=1e-8, gt=0.0)
    weight_decay: float = Field(default=0.01, ge=0.0)
    """Of matrices of the projector only."""
    clip_norm: float = Field(default=1.0, gt=0.0)
    save_every: int = Field(default=500, ge=1)
    question: str = QUESTION
    init_from: str | None = None
    """Export of an earlier run that this one starts from, below the repository; a stage transition."""

    @model_validator(mode="after")
    def _thawing_is_counted(self) -> Self:
        if (self.thawed_rates or self.init_from) and self.expected_trainable is None:
            raise ValueError("training.expected_trainable: how many parameters are trained, where something is thawed")
        return self


class EvaluationParameters(Parameters):
    """Benchmarks (spec section 12)."""

    source: Literal["made", "hub"] = "hub"
    """Items of the project's scenes in the benchmarks' forms, or the pinned datasets of catalog/."""
    sets: tuple[Literal["blink", "vsr", "spatial", "captions"], ...] = ("blink", "vsr", "spatial", "captions")
    limit: int | None = Field(default=None, ge=1)
    """Items per set at most; None is all."""
    made_items: int = Field(default=96, ge=8)
    """Per set."""
    batch: int = Field(default=8, ge=1)
    new_tokens: dict[Literal["short", "long"], int] = Field(default={"short": 16, "long": 128})
    """Of generated answers: BLINK and VSR, and the others."""
    resamples: int = Field(default=10_000, ge=100)
    most_empty: float = Field(default=0.02, ge=0.0, le=1.0)
    """Share of generated answers that may be empty."""
    most_missing: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of published items whose picture may be gone from its address; each one is named in the result."""
    least_margin: float | None = Field(default=None, gt=0.0, lt=1.0)
    """Accuracy by which the trained run must beat its zero-latent and shuffled-latent controls on `captions`, or the
    comparison fails; None where nothing is known beforehand."""


class PublishParameters(Parameters):
    """Where final exports are meant to be pushed, which the estimate of what is sent is for; nowhere by default."""

    repo: str | None = None
    """owner/name. `trackyard publish push --repo` names it again: nothing is sent because of a parameter."""


class DatacompParameters(Parameters):
    """The track."""

    seeds: tuple[int, ...] = (42, 1337, 2024)
    runs: tuple[Run, ...] = ("world", "soft_prompt")
    arms: tuple[str, ...] = tuple(ARMS)
    gemma: GemmaParameters
    vae: VaeParameters
    data: DataParameters = DataParameters()
    world: WorldParameters = WorldParameters()
    training: TrainingParameters = TrainingParameters()
    engine: EngineParameters = EngineParameters()
    guard: GuardParameters = GuardParameters()
    watchdog: WatchdogParameters = WatchdogParameters()
    processes: int = Field(default=1, ge=1)
    evaluation: EvaluationParameters = EvaluationParameters()
    publish: PublishParameters = PublishParameters()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for names in (self.seeds, self.runs, self.arms):
            if len(set(names)) != len(names) or not names:
                raise ValueError(f"{list(names)} names one twice, or none")
        for name in self.arms:
            if name not in ARMS:
                raise ValueError(f"arms={list(self.arms)}: there are {', '.join(ARMS)}")
            run = ARMS[name].run
            if run is not None and run not in self.runs:
                raise ValueError(f"arm {name} is of the run {run}, which is not among runs={list(self.runs)}")
        if BASE not in self.arms:
            raise ValueError(f"arms={list(self.arms)} lack {BASE}, which every comparison is with")
        if self.engine.precision != "fp32":
            raise ValueError(
                "engine.precision=bf16: what is trained stays fp32; on a GPU frozen weights are bf16 by themselves, "
                "and products are computed under bf16 autocast (theworld spec section 10)"
            )
        if self.engine.context_degree != 1:
            raise ValueError("engine.context_degree: samples are not divided among ranks in this track")
        return self

    @property
    def trained_cells(self) -> dict[str, Cell]:
        """Runs at seeds, by label."""
        found = (Cell(name=run, seed=seed) for run in self.runs for seed in self.seeds)
        return {cell.label: cell for cell in found}

    def cells_of(self, arm: str) -> tuple[Cell, ...]:
        """Of one arm: at every seed, or alone."""
        seeds: tuple[int | None, ...] = self.seeds if arm_named(arm).seeded else (None,)
        return tuple(Cell(name=arm, seed=seed) for seed in seeds)

    @property
    def evaluated(self) -> dict[str, Cell]:
        """All arms at their seeds, by label."""
        return {cell.label: cell for arm in self.arms for cell in self.cells_of(arm)}

    @property
    def declared_arms(self) -> tuple[Arm, ...]:
        return tuple(arm_named(name) for name in self.arms)

    def sections(self, result: str) -> dict[str, Any]:
        """What of these parameters determines a result, by section."""
        values = self.model_dump(mode="json", include=set(SECTIONS[result]))
        for name, spread in _HOW.items():
            for key in spread if name in values else ():
                values[name].pop(key, None)
        if "data" in values:
            for key in ("workers", "worker_bytes", "held_bytes", "shards_ahead", "limits"):
                values["data"]["images"].pop(key, None)
        return values


_HOW = {"vae": ("batch",), "training": ("save_every",), "evaluation": ("batch",)}
"""How a result is computed, not what it is."""
_MODELS = ("gemma", "vae", "data")
_TRAIN = (*_MODELS, "evaluation", "world", "training", "guard")
SECTIONS: dict[str, tuple[str, ...]] = {
    "metadata": ("data",),
    "select": ("data",),
    "download": ("data",),
    "models": ("gemma", "vae", "data"),
    "eval_data": ("evaluation", "data"),
    "curate": ("data", "evaluation"),
    "latents": ("vae", "data", "evaluation"),
    "eval_latents": ("vae", "data", "evaluation"),
    "train": _TRAIN,
    "audit_branch": _TRAIN,
    "eval_blink": _TRAIN,
    "eval_vsr": _TRAIN,
    "eval_spatial": _TRAIN,
    "eval_captions": _TRAIN,
    "compare": (*_TRAIN, "seeds", "runs", "arms"),
}
"""Sections of datacomp that decide each result, which states the digest of them."""


def _require_origin(name: str, revision: str | None, *, made: bool) -> None:
    # A profile may leave the commit to whoever runs it (`pinned.py`): it can be estimated, and nothing else.
    if not made and revision != UNPINNED and not COMMIT.fullmatch(revision or ""):
        raise ValueError(f"{name}.revision={revision!r}: a commit of 40 hex digits, a branch moves")
    if made and revision is not None:
        raise ValueError(f"{name}.made and {name}.revision: a made model has no revision")


def load_datacomp(path: Path, *, base: str | None = None) -> DatacompParameters:
    """Read the track's parameters from a parameter file; ConfigError names what is wrong in it.

    base: the value set to take instead of the one that a profile extends.
    """
    values = read_layered(path, base=base).get("datacomp")
    return parse_parameters(DatacompParameters, values, where=f"{path.name}: datacomp")
