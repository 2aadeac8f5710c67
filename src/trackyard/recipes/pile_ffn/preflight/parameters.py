"""What the checks of a study expect: those of the default study, or of a profile. Source: pile-ffn spec 2, 12, 13."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field

from trackyard.catalog.entries import UNPINNED
from trackyard.errors import ConfigError
from trackyard.estimate.devices import Device
from trackyard.estimate.memory import rank_memory, total
from trackyard.parameters import Parameters
from trackyard.recipes.pile_ffn.cells import Arm
from trackyard.recipes.pile_ffn.cost.constrained_memory import live_bytes
from trackyard.recipes.pile_ffn.cost.sizes import size_of, study_workload
from trackyard.recipes.pile_ffn.cost.storing import PILE, held_out_bytes, storage
from trackyard.recipes.pile_ffn.parameters import PileFfnParameters

Mode = Literal["quick", "default", "full"]
MODES: tuple[Mode, ...] = ("quick", "default", "full")
SMALL_BYTES: dict[Mode, int] = {"quick": 5_000_000, "default": 200_000_000, "full": 200_000_000}
"""What a mode may bring beside weights and held-out files (section 12)."""


class PreflightParameters(Parameters):
    """What the checks expect. parameters, ffn_parameters, vocabulary_rows: of the model (pile-ffn spec section 2).
    splits: file of each split whose first records are read. train_files: compressed training files. needed_bytes: free
    bytes of the hub's cache by mode. planned_bytes, planned_files: that the study takes below the repository.
    device_bytes: that training takes of a GPU."""

    model: str = "EleutherAI/pythia-1.4b"
    model_revision: str = UNPINNED
    model_gated: bool = False
    parameters: int = 1_414_647_808
    ffn_parameters: int = 805_552_128
    vocabulary_rows: int = 50_304
    splits: dict[str, str] = Field(
        default={"train": "train/00.jsonl.zst", "validation": "val.jsonl.zst", "test": "test.jsonl.zst"}
    )
    train_files: int = 30
    records: int = Field(default=100, gt=0)
    needs_accelerator: bool = False
    needed_bytes: dict[Mode, int] = Field(default={"quick": 5_000_000, "default": 200_000_000, "full": 8_000_000_000})
    planned_bytes: int = Field(default=0, ge=0)
    planned_files: int = Field(default=0, ge=0)
    device_bytes: int = Field(default=0, ge=0)

    @classmethod
    def of(cls, study: PileFfnParameters, device: Device | None = None) -> Self:
        """The checks of a study of a model of the hub on the Pile; ConfigError for any other.

        device: that it will be trained on; None: its memory is not compared.
        """
        model, source = study.model, study.data.source
        if model.revision is None or source.entry != PILE:
            raise ConfigError(
                what=f"the study of {model.id} on {source.entry or source.kind} text",
                why=f"these checks are of a model of the hub and of the files of {PILE}",
                fix="trackyard data verify pile --profile pythia-1.4b",
            )
        size = size_of(model)
        memory = 0.0
        if device is not None and not device.is_cpu:
            memory = total(rank_memory(study_workload(study, device), device), "device")
            memory += max(live_bytes(size, Arm.named(name), study.engine) for name in study.arms)
        peak = storage(study, size, at_once=1).peak
        weights = 2 * size.parameters + held_out_bytes(study)
        files = {"train": source.train[0], "validation": source.val, "test": source.test}
        return cls(
            model=model.id,
            model_revision=model.revision,
            model_gated=model.gated,
            parameters=size.parameters,
            ffn_parameters=size.ffn_parameters,
            vocabulary_rows=size.shape.vocab,
            splits={split: name for split, name in files.items() if name is not None},
            needed_bytes={mode: SMALL_BYTES[mode] + (weights if mode == "full" else 0) for mode in MODES},
            planned_bytes=peak.bytes,
            planned_files=peak.files,
            device_bytes=round(memory),
        )
