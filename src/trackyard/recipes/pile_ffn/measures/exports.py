"""The plain models that every later stage loads: what lies in an export, and loading it for scoring.

Source: pile-ffn spec sections 4, 7 and 10.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from trackyard.digest import digest_file
from trackyard.errors import DataError
from trackyard.imports import import_heavy
from trackyard.models.nonneg_export import EXACT
from trackyard.recipes.pile_ffn.cells import UNTOUCHED, Arm, Cell
from trackyard.recipes.pile_ffn.study import Study

UNTOUCHED_CELL = Cell(arm=UNTOUCHED, seed=None)
PRECISION = {"scoring": "fp32", "tf32": "off"}


def device() -> torch.device:
    """Where models are scored."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def export_inputs(study: Study, cell: Cell) -> dict[str, str]:
    """blake3 of the exact weights and their configuration, by path relative to the repository; DataError if absent."""
    return {path.relative_to(study.root).as_posix(): digest_file(path) for path in _files(study, cell)}


def load_exact(study: Study, cell: Cell) -> Any:
    """The exported model in fp32, for scoring, on `device()`; TF32 is off from here on. DataError as above.

    On a CPU this process computes with `engine.threads` from here on: more than a tiny model can use make it slower.
    """
    _files(study, cell)
    import_heavy("transformers.modeling_utils")
    disable_progress_bar()
    if device().type == "cpu":
        torch.set_num_threads(study.parameters.engine.threads)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    model: Any = AutoModelForCausalLM.from_pretrained(
        study.export(cell) / EXACT, dtype=torch.float32, local_files_only=True
    )
    return model.to(device()).eval()


def import_ahead(study: Study) -> None:
    """Import the stock class of the study's model, so that processes that are forked after it need not."""
    _files(study, UNTOUCHED_CELL)
    kind = AutoConfig.from_pretrained(study.export(UNTOUCHED_CELL) / EXACT, local_files_only=True).model_type
    import_heavy("transformers.modeling_utils", f"transformers.models.{kind}.modeling_{kind}")


def _files(study: Study, cell: Cell) -> list[Path]:
    folder = study.export(cell) / EXACT
    paths = sorted(path for path in folder.glob("*") if path.suffix in (".safetensors", ".json"))
    if not any(path.suffix == ".safetensors" for path in paths):
        raise DataError(
            what=f"there are no weights in {folder}",
            why=f"everything that is measured of {cell.name} is measured on its export",
            fix=f"dvc repro pipelines/pile_ffn/dvc.yaml:{_maker(cell)}",
        )
    return paths


def _maker(cell: Cell) -> str:
    """The stage that exports a cell."""
    arm = Arm.named(cell.arm)
    if arm.kind == "degraded":
        return f"degrade@{arm.variant}"
    return cell.name if cell.seed is None else f"train@{cell.name}"
