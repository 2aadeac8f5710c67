"""datacomp/<run>-<seed>: Gemma 3, the VAE, and what was trained between them, with a file that joins the three.

Weights of Gemma that were trained lie merged in Gemma's own files, and as they were trained in projector/.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any, Literal

from trackyard.catalog.entries import UNPINNED
from trackyard.errors import ConfigError
from trackyard.recipes.datacomp.parameters import DatacompParameters
from trackyard.recipes.datacomp.report.card import card_facts
from trackyard.recipes.datacomp.report.comparing import STAGE, SUMMARY
from trackyard.recipes.datacomp.report.gathering import TRAIN, gather
from trackyard.recipes.datacomp.results import PIPELINE, read_result
from trackyard.recipes.datacomp.study import TRACK, Study
from trackyard.recipes.publishing.publication import Publication, printed, standalone
from trackyard.recipes.publishing.record import Recorded
from trackyard.record.lineage.document import names_in

Base = Literal["copy", "reference"]
USE, BASE_FILE = "theworld.py", "base.json"
PROJECTOR, VAE = "projector", "vae"
PREPROCESSOR = "preprocessor_config.json"
WORDS = (
    f"`python {USE} PICTURE QUESTION` answers a question about a picture, with torch, transformers, diffusers and "
    "pillow; large JPEG pictures may differ from those of training by a few of 255 levels. The file lies beside the "
    "weights:"
)


def names(parameters: DatacompParameters) -> list[str]:
    return [f"{TRACK}/{label}" for label in parameters.trained_cells]


def publication(root: Path, parameters: DatacompParameters, label: str, base: Base = "copy") -> Publication:
    """base reference: the base models are named, with their revisions, and not copied. ConfigError for made ones."""
    study, cell = Study(root=root, parameters=parameters), parameters.trained_cells[label]
    export = study.export(cell)
    again = f"dvc repro {PIPELINE}:train@{label}"
    recorded = Recorded.of(export, root, again=again)
    gathered = gather(study)
    recorded.require_run(gathered.cells[TRAIN][label].header.run_id, again=again)
    verdict = read_result(study.artifacts / "results" / SUMMARY, STAGE).body["verdict"]
    facts = card_facts(
        parameters,
        cell,
        gathered,
        [(claim["benchmark"], claim["claim"]) for claim in verdict["claims"]],
        cost=recorded.cost(),
        links=recorded.links(),
        use=f"{WORDS}\n\n{printed(USE)}",
    )
    files = {f"{PROJECTOR}/{name}": export / name for name in names_in(export)}
    texts, write = {USE: standalone(USE)}, None
    if base == "reference":
        texts[BASE_FILE] = json.dumps(base_reference(parameters), indent=2) + "\n"
    else:
        gemma = {path.name: path for path in sorted(study.gemma.iterdir()) if path.is_file()}
        files |= {f"{VAE}/{path.name}": path for path in sorted(study.vae.iterdir()) if path.is_file()}
        if _thawed(export / "model.safetensors"):
            gemma = {name: path for name, path in gemma.items() if ".safetensors" not in name}
            write = partial(_write_merged, study.gemma, export / "model.safetensors")
        files |= gemma
        if PREPROCESSOR not in gemma:
            texts[PREPROCESSOR] = json.dumps(_preprocessing(json.loads(gemma["config.json"].read_text())), indent=2)
    return Publication(name=f"{TRACK}/{label}", recorded=recorded, facts=facts, files=files, texts=texts, write=write)


def base_reference(parameters: DatacompParameters) -> dict[str, dict[str, str]]:
    """base.json: what `from_pretrained` is given for each base model. ConfigError for a made one."""
    found = {}
    for name, of in (("gemma", parameters.gemma), ("vae", parameters.vae)):
        if of.made is not None or of.revision in (None, UNPINNED):
            raise ConfigError(
                what=f"the {name} of this study is {of.id} of no commit of a hub",
                why="nobody else could load the very same weights by its name",
                fix="leave --base reference out: the base models are copied then",
            )
        found[name] = {"id": of.id, "revision": str(of.revision)}
    found["vae"]["subfolder"] = parameters.vae.subfolder
    return found


def _preprocessing(config: dict[str, Any]) -> dict[str, Any]:
    """For the stock processor: pictures as training saw them, where the base model brings no such file."""
    side = config["vision_config"]["image_size"]
    return {
        "image_processor_type": "Gemma3ImageProcessor",
        "processor_class": "Gemma3Processor",
        "image_seq_length": config["mm_tokens_per_image"],
        "size": {"height": side, "width": side},
        "resample": 3,
        "do_convert_rgb": True,
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "rescale_factor": 1 / 255,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }


def _thawed(weights: Path) -> bool:
    """Whether parts of Gemma were trained."""
    from safetensors import safe_open

    with safe_open(weights, framework="pt") as file:
        return any(name.startswith("thawed.") for name in file.keys())  # noqa: SIM118 - no mapping


def _write_merged(gemma: Path, trained: Path, target: Path) -> None:
    """Gemma's weights with the trained ones in their place, those in the precision that they were trained in."""
    import torch
    from safetensors.torch import load_file
    from transformers import Gemma3ForConditionalGeneration

    from trackyard.models.theworld.model import thawable

    stock: Any = Gemma3ForConditionalGeneration
    model = stock.from_pretrained(gemma, dtype="auto", local_files_only=True)
    parts = torch.nn.ModuleDict({"thawed": torch.nn.ModuleDict(thawable(model))})
    for name, tensor in load_file(trained).items():
        if name.startswith("thawed."):
            parts.get_parameter(name).data = tensor
    # Its own configuration files are copied: this writes the weights, and these files again.
    model.save_pretrained(target)
