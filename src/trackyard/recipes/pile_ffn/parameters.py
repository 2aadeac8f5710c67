"""Typed parameters of the Pile-FFN track, and which sections decide which stage. Torch is not imported.

Source: pile-ffn spec sections 2, 3, 5 to 9 and 11.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from trackyard.evaluate.attacks.budgets import PRESETS, AttackBudget
from trackyard.launch.watchdog import WatchdogParameters
from trackyard.parameters import Parameters, parse_parameters, read_layered
from trackyard.recipes.pile_ffn.cells import BASELINE, UNTOUCHED, Arm, Cell
from trackyard.recipes.pile_ffn.text.documents import HeldOutParameters
from trackyard.recipes.pile_ffn.text.mini_corpus import MiniCorpusParameters
from trackyard.train.guard_parameters import GuardParameters
from trackyard.train.parameters import EngineParameters

Family = Literal["gpt_neox", "llama", "qwen2"]
COMMIT = re.compile(r"[0-9a-f]{40}")


class MadeModelParameters(Parameters):
    """A small model that the project makes itself: random weights, pretrained on a training file of its own."""

    family: Family = "gpt_neox"
    layers: int = Field(default=2, ge=1)
    hidden: int = Field(default=64, ge=8)
    heads: int = Field(default=4, ge=1)
    ffn: int = Field(default=256, ge=8)
    vocabulary: int = Field(default=512, ge=300)
    """Entries of the byte-level tokenizer that is trained on the pretraining file."""
    seed: int = Field(default=0, ge=0)
    steps: int = Field(default=200, ge=1)
    """Of pretraining, with the batches of `training`."""
    learning_rate: float = Field(default=3e-3, gt=0.0)


class ModelParameters(Parameters):
    """The pretrained language model that every arm starts from: one of the hub at a commit, or one that is made."""

    id: str
    revision: str | None = None
    """40 hex digits; None for a made model."""
    gated: bool = False
    size: str | None = None
    """Name in `sizes.SIZES`, where the counts of the architecture are known beforehand."""
    made: MadeModelParameters | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if self.made is None and not COMMIT.fullmatch(self.revision or ""):
            raise ValueError(f"model.revision={self.revision!r}: a commit of 40 hex digits, a branch moves")
        if self.made is not None and self.revision is not None:
            raise ValueError("model.made and model.revision: a made model has no revision")
        return self


class SourceParameters(Parameters):
    """Where text comes from.

    kind mini: the project's own corpus. hub: an entry of catalog/ at its pinned revision. files: paths below the
    repository. train: one file per seed in the order of `seeds`, then one for pretraining where a model is made.
    """

    kind: Literal["mini", "hub", "files"] = "mini"
    entry: str | None = None
    """Name in catalog/, for `hub`."""
    revision: str | None = None
    """Commit, where the entry pins none."""
    train: tuple[str, ...] = ()
    """Paths or patterns (several files, in the order of their names); none for `mini`."""
    val: str | None = None
    test: str | None = None
    held_out: Literal["files", "halved", "hashed"] = "files"
    """Held-out text: files of its own; one validation file halved by hash; or hashed out of the training files."""
    licence: str | None = None
    """Of `files`; needed there."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.revision is not None and not COMMIT.fullmatch(self.revision):
            raise ValueError(f"data.source.revision={self.revision!r}: a commit of 40 hex digits, a branch moves")
        if self.kind == "mini":
            if self.train or self.val or self.test or self.entry or self.held_out != "files":
                raise ValueError("data.source: the mini corpus names its files itself, held-out ones among them")
            return self
        if (self.kind == "hub") is (self.entry is None) or (self.kind == "files") is (self.licence is None):
            raise ValueError("data.source: an entry for hub, a licence for files, and neither elsewhere")
        held_out = (self.val is not None, self.test is not None)
        wanted = {"files": (True, True), "halved": (True, False), "hashed": (False, False)}[self.held_out]
        if not self.train or held_out != wanted:
            raise ValueError(
                f"data.source: train={list(self.train)}, val={self.val!r}, test={self.test!r} with "
                f"held_out={self.held_out}: files needs val and test, halved val alone, hashed neither"
            )
        return self


class DataParameters(Parameters):
    """What is trained on and what is held out."""

    source: SourceParameters = SourceParameters()
    mini: MiniCorpusParameters = MiniCorpusParameters()
    held_out: HeldOutParameters = HeldOutParameters()
    workers: int = Field(default=1, ge=1)
    """Processes that tokenise; the result is the same for any number."""


class TrainingParameters(Parameters):
    """The budget of every trained arm, and its optimiser (section 6, profile `matched`)."""

    steps: int = Field(default=10_000, ge=1)
    window: int = Field(default=2048, ge=8)
    """L, in tokens."""
    windows_per_step: int = Field(default=32, ge=1)
    doc_mask: bool = False
    """Documents of a window do not see each other; pythia's pretraining lets them."""
    learning_rates: dict[str, float]
    """Peak rate of each trained arm, chosen on `val` after a sweep of 1,000 steps and then fixed."""
    warmup: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share of the steps; then linear to 0."""
    beta1: float = Field(default=0.9, ge=0.0, lt=1.0)
    beta2: float = Field(default=0.999, ge=0.0, lt=1.0)
    eps: float = Field(default=1e-8, gt=0.0)
    weight_decay: float = Field(default=0.01, ge=0.0)
    """Of unconstrained matrices only."""
    clip_norm: float = Field(default=1.0, gt=0.0)
    save_every: int = Field(default=500, ge=1)

    @property
    def tokens(self) -> int:
        """Predicted tokens of one arm at one seed."""
        return self.steps * self.windows_per_step * self.window


class PerplexityParameters(Parameters):
    """Scoring of documents (section 7)."""

    length: int = Field(default=2048, ge=2)
    stride: int = Field(default=1024, ge=1)
    batch: int = Field(default=8, ge=1)
    resamples: int = Field(default=10_000, ge=100)


class BenchmarkParameters(Parameters):
    """Tasks of lm-evaluation-harness, zero-shot, from pinned local data."""

    tasks: tuple[str, ...] = ("lambada_openai", "hellaswag", "winogrande", "truthfulqa_mc1", "truthfulqa_mc2")
    limit: int | None = Field(default=None, ge=1)
    """Items per task at most; None is all."""
    batch: int = Field(default=16, ge=1)
    source: Literal["made", "hub"] = "hub"
    """Items that the project makes itself in the same form, or the pinned datasets of catalog/."""
    made_items: int = Field(default=40, ge=4)


class AttackParameters(Parameters):
    """One budget for all arms (section 8.3)."""

    budget: Literal["smoke", "sweep", "full", "own"] = "full"
    own: AttackBudget | None = None
    batch_tokens: int = Field(default=4096, ge=1)
    """Tokens that are scored at once."""

    @model_validator(mode="after")
    def _own_budget(self) -> Self:
        if (self.budget == "own") is (self.own is None):
            raise ValueError("attacks.own: a budget where attacks.budget is 'own', and only there")
        return self

    @property
    def allowed(self) -> AttackBudget:
        return PRESETS[self.budget] if self.own is None else self.own


class ProbeParameters(Parameters):
    """Order-preservation probes (section 9)."""

    directions: int = Field(default=64, ge=2)
    fit_steps: int = Field(default=300, ge=1)
    resamples: int = Field(default=2_000, ge=100)
    samples: int = Field(default=256, ge=2)
    """Pairs (h, h + delta) of the direct check at each layer."""
    batch: int = Field(default=64, ge=1)


class PileFfnParameters(Parameters):
    """The track. seeds: the place of a seed says which training file is its replicate's."""

    seeds: tuple[int, ...] = (42, 1337, 2024)
    arms: tuple[str, ...]
    """Trained ones."""
    degraded: tuple[str, ...]
    """Variants of which there is a control that is the baseline with noise, matched to the `nonneg` arm."""
    measured: tuple[str, ...]
    """Untouched weights, all arms, and those of `degraded`: once more, because a DVC matrix cannot add lists."""
    model: ModelParameters
    data: DataParameters = DataParameters()
    training: TrainingParameters
    engine: EngineParameters = EngineParameters()
    guard: GuardParameters = GuardParameters()
    watchdog: WatchdogParameters = WatchdogParameters()
    processes: int = Field(default=1, ge=1)
    perplexity: PerplexityParameters = PerplexityParameters()
    benchmarks: BenchmarkParameters = BenchmarkParameters()
    attacks: AttackParameters = AttackParameters()
    probes: ProbeParameters = ProbeParameters()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        degraded = tuple(Arm.named(f"degraded_{variant}").name for variant in self.degraded)
        if not all(Arm.named(name).trained for name in self.arms):
            raise ValueError(f"arms={list(self.arms)} are those that are trained")
        expected = (UNTOUCHED, *self.arms, *degraded)
        if self.measured != expected:
            raise ValueError(f"measured={list(self.measured)} must be {list(expected)}")
        for names in (self.measured, self.seeds):
            if len(set(names)) != len(names) or not names:
                raise ValueError(f"{list(names)} names one twice, or none")
        if BASELINE not in self.arms:
            raise ValueError(f"arms={list(self.arms)} lack {BASELINE}, which every comparison is with")
        for variant in self.degraded:
            if f"nonneg_{variant}" not in self.arms:
                raise ValueError(f"degraded={variant} is matched to nonneg_{variant}, which is not among the arms")
        if set(self.training.learning_rates) != set(self.arms):
            raise ValueError(f"training.learning_rates must name exactly {list(self.arms)}")
        if self.engine.precision != "fp32":
            raise ValueError(
                "engine.precision=bf16 stores a rounded copy of V, which then does not move: fp32, which on a GPU "
                "computes under bf16 autocast (pile-ffn spec section 4)"
            )
        if self.engine.context_degree != 1:
            raise ValueError("engine.context_degree: windows are not divided among ranks in this track")
        return self

    @property
    def trained_cells(self) -> tuple[Cell, ...]:
        return tuple(Cell(arm=arm, seed=seed) for arm in self.arms for seed in self.seeds)

    @property
    def degraded_cells(self) -> tuple[Cell, ...]:
        return tuple(Cell(arm=f"degraded_{variant}", seed=seed) for variant in self.degraded for seed in self.seeds)

    @property
    def seeded(self) -> tuple[str, ...]:
        """Arms that are measured at every seed."""
        return tuple(arm for arm in self.measured if arm != UNTOUCHED)

    def cells_of(self, arm: str) -> tuple[Cell, ...]:
        """Of one arm that is measured."""
        return tuple(cell for cell in self.cells.values() if cell.arm == arm)

    @property
    def cells(self) -> dict[str, Cell]:
        """All that is measured, by name, untouched weights first."""
        found = (Cell(arm=UNTOUCHED, seed=None), *self.trained_cells, *self.degraded_cells)
        return {cell.name: cell for cell in found}

    def sections(self, stage: str) -> dict[str, Any]:
        """What of these parameters determines the result of a stage, by section."""
        values = self.model_dump(mode="json", include=set(SECTIONS[stage]))
        for name in ("data", "benchmarks", "attacks", "perplexity", "probes"):
            for spread in ("workers", "batch", "batch_tokens"):  # how it is computed, not what
                values.get(name, {}).pop(spread, None)
        values.get("training", {}).pop("save_every", None)
        return values


_TOKENS = ("seeds", "model", "data", "training")
SECTIONS: dict[str, tuple[str, ...]] = {
    "fetch": ("seeds", "model", "data"),
    "tokenize": _TOKENS,
    "untouched": (*_TOKENS, "guard"),
    "init": (*_TOKENS, "arms"),
    "train": (*_TOKENS, "guard"),
    "degrade": _TOKENS,
    "eval_ppl": (*_TOKENS, "perplexity"),
    "eval_bench": (*_TOKENS, "benchmarks"),
    "probe_order": (*_TOKENS, "probes"),
    "attack_uat": (*_TOKENS, "attacks"),
    "attack_hotflip": (*_TOKENS, "attacks"),
    "attack_transfer": (*_TOKENS, "attacks", "measured"),
    "aggregate": (*_TOKENS, "guard", "arms", "degraded", "perplexity", "benchmarks", "attacks", "probes"),
}
"""Sections of pile_ffn that decide each result, which states the digest of them."""


def load_pile_ffn(path: Path, *, base: str | None = None) -> PileFfnParameters:
    """Read the track's parameters from a parameter file; ConfigError names what is wrong in it.

    base: the value set to take instead of the one that a profile extends.
    """
    values = read_layered(path, base=base).get("pile_ffn")
    return parse_parameters(PileFfnParameters, values, where=f"{path.name}: pile_ffn")
