"""What a run leaves for evaluation: the trained tensors and nothing else, and a document of all they belong to.

Reading is strict: tensors too few, too many or of other shapes, another base model, other latents or another prompt are
errors. A published loader was not, and evaluated random branches. Source: theworld spec section 11.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from trackyard.digest import digest_file, digest_json
from trackyard.errors import CheckpointError, IdentityError
from trackyard.models.theworld.branch import SoftPrompt, WorldBranch
from trackyard.models.theworld.loading import load_exact
from trackyard.models.theworld.parameters import WorldParameters, tokens_of
from trackyard.recipes.datacomp.base.loading import base_facts, markers_from_files
from trackyard.recipes.datacomp.cells import SOFT_PROMPT, Cell
from trackyard.recipes.datacomp.latents.opening import world_facts
from trackyard.recipes.datacomp.results import PIPELINE
from trackyard.recipes.datacomp.study import Study
from trackyard.sealed import read_sealed, write_sealed
from trackyard.snapshot.latent_facts import EncoderFacts

SCHEMA = "trackyard-world-export/1"
CONFIG, WEIGHTS = "world_config.json", "model.safetensors"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "chat_template.json")


@dataclass(frozen=True, kw_only=True)
class Export:
    """tensors: fp32, by their names in `TheWorld`. config: the document beside them."""

    folder: Path
    tensors: Mapping[str, torch.Tensor]
    config: Mapping[str, Any]


def describe(study: Study, run: str, facts: EncoderFacts) -> dict[str, Any]:
    """What an export of this study belongs to, whatever its weights are. run: world or soft_prompt."""
    base = base_facts(study)
    return {
        "run": run,
        "base": {
            "gemma": base.gemma,
            "gemma_files": {name: found for name, found in base.gemma_files.items() if name.endswith(".safetensors")},
            "vae": base.vae,
            "vae_digest": base.vae_digest,
        },
        "world": study.parameters.world.model_dump(mode="json", exclude={"allow_invisible_world", "max_length"}),
        "latents": {**asdict(facts), "shape": list(facts.shape)},
        "prompt": {
            "question": study.parameters.training.question,
            "tokenizer": digest_json({name: base.gemma_files[name] for name in TOKENIZER if name in base.gemma_files}),
        },
    }


def write_export(
    folder: Path, tensors: Mapping[str, torch.Tensor], *, belongs: Mapping[str, Any], r_text: float, lineage: Any
) -> None:
    """Write both files into `folder`, the document last (the caller makes it atomic).

    tensors: trained, fp32 on the host. belongs: from `describe`. lineage: run id, plan, seed and what else is known.
    """
    weights = {name: tensors[name].contiguous() for name in sorted(tensors)}
    save_file(weights, folder / WEIGHTS)
    counts = {name: tensor.numel() for name, tensor in weights.items()}
    body = {
        "belongs": dict(belongs),
        "r_text": r_text,
        "counts": counts,
        "trained": sum(counts.values()),
        "weights": digest_file(folder / WEIGHTS),
        "lineage": lineage,
    }
    write_sealed(folder / CONFIG, SCHEMA, body)


def require_export(folder: Path, *, again: str) -> None:
    """CheckpointError for a folder that is absent or incomplete. again: the command or correction that helps then."""
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise CheckpointError(
                what=f"{folder} holds no {name}",
                why="without an export there are no trained weights; it is never replaced by fresh ones",
                fix=again,
            )


def read_export(folder: Path, *, again: str) -> Export:
    """Tensors that are the ones that were written. CheckpointError as `require_export`, and for altered weights."""
    require_export(folder, again=again)
    config = read_sealed(folder / CONFIG, SCHEMA, fix=again)
    try:
        found = digest_file(folder / WEIGHTS)
        tensors = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            what=f"{folder / WEIGHTS} cannot be read: {error}", why="it holds the trained weights", fix=again
        ) from error
    counts = {name: tensor.numel() for name, tensor in tensors.items()}
    if found != config["weights"] or counts != config["counts"]:
        raise CheckpointError(
            what=f"{folder / WEIGHTS} has blake3 {found}, {CONFIG} states {config['weights']}",
            why="these are not the weights that the run wrote",
            fix=again,
        )
    return Export(folder=folder, tensors=tensors, config=config)


def require_same_base(study: Study, export: Export, run: str) -> None:
    """IdentityError, with each difference, unless an export belongs to the study's models, latents and prompts."""
    wanted = describe(study, run, world_facts(study))
    found = export.config["belongs"]
    differences = _differences("", found, wanted)
    if differences:
        raise IdentityError(
            what=f"{export.folder} belongs to something else: {'; '.join(differences[:8])}",
            why="its projector was trained into another model, with other latents or other prompts",
            fix="evaluate it in the study that trained it, or train it again: dvc repro " + PIPELINE,
        )


def load_export(study: Study, cell: Cell) -> WorldBranch | SoftPrompt:
    """The trained branch of a run at a seed, on the host. cell: of a run, `world` or `soft_prompt`.

    CheckpointError for tensors too few, too many or of other shapes, IdentityError as `require_same_base`.
    """
    export = _of(study, cell)
    world: WorldParameters = study.parameters.world
    shape, r_text = tuple(export.config["belongs"]["latents"]["shape"]), float(export.config["r_text"])
    branch: WorldBranch | SoftPrompt
    markers_2D = markers_from_files(study, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    if cell.name == SOFT_PROMPT:
        branch = SoftPrompt(tokens_of(world.mode, shape)[0], markers_2D, r_text)
    else:
        branch = WorldBranch(world, shape, markers_2D.shape[1], r_text)
    own = {name: tensor for name, tensor in export.tensors.items() if not name.startswith("thawed.")}
    load_exact(torch.nn.ModuleDict({"world": branch}), own)
    return branch


def load_thawed(study: Study, cell: Cell, thawed: torch.nn.Module) -> None:
    """Parts of Gemma that were trained with the branch. thawed: `TheWorld.thawed` of a model with the same parts.

    Nothing happens where the run trained none and the module is empty. CheckpointError as `load_export`.
    """
    tensors = {name: tensor for name, tensor in _of(study, cell).tensors.items() if name.startswith("thawed.")}
    load_exact(torch.nn.ModuleDict({"thawed": thawed}), tensors)


def _of(study: Study, cell: Cell) -> Export:
    export = read_export(study.export(cell), again=f"dvc repro {PIPELINE}:train@{cell.label}")
    require_same_base(study, export, cell.name)
    return export


def _differences(where: str, found: Any, wanted: Any) -> list[str]:
    """What two documents say otherwise, by path."""
    if isinstance(found, Mapping) and isinstance(wanted, Mapping):
        return [
            line
            for key in sorted(found.keys() | wanted.keys())
            for line in _differences(f"{where}.{key}".lstrip("."), found.get(key), wanted.get(key))
        ]
    return [] if found == wanted else [f"{where}: {found} there, {wanted} here"]
