"""The base models as later stages load them, and what is known of them. Source: theworld spec sections 2 and 10."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackyard.errors import DataError
from trackyard.recipes.datacomp.results import PIPELINE, read_result
from trackyard.recipes.datacomp.study import Study

if TYPE_CHECKING:
    import torch

AGAIN = f"dvc repro {PIPELINE}:models"
_TABLE = "embed_tokens.weight"
"""How the name of the table of embeddings ends, whichever transformers wrote it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseFacts:
    """Both base models, `id@revision`, and blake3 of each of their files by name, as the stage `models` found them."""

    gemma: str
    vae: str
    gemma_files: Mapping[str, str]
    vae_files: Mapping[str, str]
    gemma_parameters: Mapping[str, int]

    @property
    def vae_digest(self) -> str:
        """blake3 of the world encoder's weights."""
        return self.vae_files["diffusion_pytorch_model.safetensors"]


def base_facts(study: Study) -> BaseFacts:
    """DataError if the stage `models` has not run. No weight is read."""
    body = read_result(study.document("models"), "models").body
    gemma, vae = body["gemma"], body["vae"]
    return BaseFacts(
        gemma=f"{gemma['id']}@{gemma['revision']}",
        vae=f"{vae['id']}@{vae['revision']}",
        gemma_files=gemma["files"],
        vae_files=vae["files"],
        gemma_parameters=gemma["parameters"],
    )


def load_gemma(study: Study, device: torch.device) -> Any:
    """The stock model on a device, frozen, for evaluation: bf16 on a GPU, fp32 elsewhere.

    DataError unless the folder holds every weight of it, and no other.
    """
    import torch
    from transformers import Gemma3ForConditionalGeneration
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    dtype = _dtype(device)
    try:
        model, report = Gemma3ForConditionalGeneration.from_pretrained(
            study.gemma, dtype=dtype, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError) as error:
        raise _unusable(study.gemma, " ".join(str(error).split())[:300]) from error
    stray = sorted(
        {*report["missing_keys"], *report["unexpected_keys"], *(name for name, *_ in report["mismatched_keys"])}
    )
    if stray:
        raise _unusable(study.gemma, f"{len(stray)} weights are missing or without a place, {stray[0]} first")
    assert isinstance(model, torch.nn.Module)
    return model.to(device).eval().requires_grad_(False)


def load_config(study: Study) -> Any:
    """Of Gemma. DataError if the folder holds none."""
    from transformers import Gemma3Config

    try:
        return Gemma3Config.from_pretrained(study.gemma, local_files_only=True)
    except (OSError, ValueError) as error:
        raise _unusable(study.gemma, " ".join(str(error).split())[:300]) from error


def load_tokenizer(study: Study) -> Any:
    """DataError if the folder holds none."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(study.gemma, local_files_only=True)
    except (OSError, ValueError) as error:
        raise _unusable(study.gemma, " ".join(str(error).split())[:300]) from error


def markers_from_files(study: Study, device: torch.device) -> torch.Tensor:
    """What `image_markers` says of the loaded model, from two rows of a file: fp32 [2, d] on the host.

    Rounded as the model that is loaded on `device` rounds them.
    """
    import torch
    from safetensors import safe_open

    config = json.loads((study.gemma / "config.json").read_bytes())
    for path in sorted(study.gemma.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 - no mapping
                if name.endswith(_TABLE):
                    table = file.get_slice(name)
                    ids = (config["boi_token_index"], config["eoi_token_index"])
                    rows_2D = torch.cat([table[number : number + 1] for number in ids]).to(_dtype(device))
                    scale = torch.tensor(rows_2D.shape[1] ** 0.5).to(rows_2D.dtype)
                    return (rows_2D * scale).float()
    raise _unusable(study.gemma, f"no tensor whose name ends in {_TABLE}")


def _dtype(device: torch.device) -> torch.dtype:
    import torch

    return torch.bfloat16 if device.type == "cuda" else torch.float32


def _unusable(folder: Path, problem: str) -> DataError:
    return DataError(
        what=f"{folder}: {problem}",
        why="it is the model that everything is trained into and compared with",
        fix=AGAIN,
    )
