"""A folder in the Hugging Face layout as a subject, by what its config.json says it is. No hub is ever asked.

Source: nine-datasets spec sections 5 and 6, design section 6 (no network on compute nodes).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch

from trackyard.digest import digest_file, digest_json
from trackyard.errors import ConfigError, DataError
from trackyard.evaluate.answering.causal import CausalSubject
from trackyard.evaluate.answering.gemma import Gemma3Subject
from trackyard.evaluate.answering.molmo2 import POSITIONS, Molmo2Subject
from trackyard.evaluate.answering.preprocessing import molmo2_preprocessing
from trackyard.evaluate.answering.subject import Subject

Precision = Literal["fp32", "bf16"]
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}
WEIGHTS = ".safetensors"
DECIDING = (WEIGHTS, ".json", ".jinja", ".model", ".txt")
"""Endings of files that can decide an answer; cards and licences do not."""


def open_subject(folder: Path, *, device: torch.device, precision: Precision) -> Subject:
    """The model of a folder, ready to answer: a Molmo2 (also with routed experts), a Gemma 3, or a causal model.

    ConfigError for another kind of model; DataError for a folder that lacks files, or weights of its class, or holds
    others.
    """
    config = _config(folder)
    kinds = {"molmo2": _molmo2, "gemma3": _gemma3}
    opened = kinds.get(str(config.get("model_type")), _causal)(folder, DTYPES[precision])
    opened.model.to(device)
    return opened


def folder_digest(folder: Path) -> str:
    """blake3 over the names and bytes of weights, configuration and tokenizer. DataError without weights."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix in DECIDING)
    if not any(path.suffix == WEIGHTS for path in files):
        raise DataError(
            what=f"{folder} holds no {WEIGHTS} file",
            why="a model without its weights would answer at random; weights in other forms may run code when read",
            fix="name the folder that an export or a download made, with its weights as safetensors",
        )
    return digest_json({path.name: digest_file(path) for path in files})


def _config(folder: Path) -> dict[str, Any]:
    try:
        body: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            what=f"no readable config.json in {folder}: {error}",
            why="it says which class of transformers the weights belong to",
            fix="name a folder in the Hugging Face layout, such as the one a stage exported",
        ) from error
    return body


def _molmo2(folder: Path, dtype: torch.dtype) -> Subject:
    from trackyard.feed.tokens import TokenTable
    from trackyard.models.molmo2 import check_fits, load_molmo2
    from trackyard.models.routed_molmo2 import ROUTED, load_routed

    digest, tokens = folder_digest(folder), TokenTable.of(_tokenizer(folder))
    geometry, video = molmo2_preprocessing(folder)
    load = load_routed if ROUTED in _config(folder) else load_molmo2
    model = load(folder, max_positions=POSITIONS)
    check_fits(model, tokens, geometry)
    # Not `model.to`: it would round the frequencies of the positions as well, which stay fp32 in the stock loader.
    for weight in model.parameters():
        weight.data = weight.data.to(dtype)
    return Molmo2Subject(model, tokens, geometry, video, name=folder.name, digest=digest, eos=_ends(model))


def _gemma3(folder: Path, dtype: torch.dtype) -> Subject:
    from transformers import Gemma3ForConditionalGeneration
    from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

    try:
        processor = Gemma3ImageProcessorPil.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise DataError(
            what=f"no readable configuration of an image processor in {folder}: {' '.join(str(error).split())[:200]}",
            why="it says how pictures are resized and scaled for this Gemma 3, which cannot be guessed",
            fix="download preprocessor_config.json (or processor_config.json) together with the weights",
        ) from error
    digest, tokenizer = folder_digest(folder), _tokenizer(folder)
    model = _loaded(Gemma3ForConditionalGeneration, folder, dtype)
    return Gemma3Subject(model, tokenizer, processor, name=folder.name, digest=digest, **_marks(model, tokenizer))


def _causal(folder: Path, dtype: torch.dtype) -> Subject:
    from transformers import AutoConfig, AutoModelForCausalLM

    kind = type(AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False))
    if kind not in AutoModelForCausalLM._model_mapping:
        raise ConfigError(
            what=f"{folder} holds a model of the kind {kind.model_type!r}",
            why="Molmo2, Gemma 3 and the causal language models of transformers are known here",
            fix="name the folder of one of those; others need a Subject of their own (trackyard.evaluate.answering)",
        )
    digest, tokenizer = folder_digest(folder), _tokenizer(folder)
    model = _loaded(AutoModelForCausalLM, folder, dtype)
    return CausalSubject(model, tokenizer, name=folder.name, digest=digest, **_marks(model, tokenizer))


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise DataError(
            what=f"no readable tokenizer in {folder}: {error}",
            why="questions could not be turned into the ids that the model was trained on",
            fix="put the tokenizer's files beside the weights",
        ) from error


def _loaded(kind: Any, folder: Path, dtype: torch.dtype) -> Any:
    """The stock class with every weight of it, and no other. DataError otherwise."""
    # Wrong shapes are let through so that the report names them, as it does what is missing.
    model, report = kind.from_pretrained(
        folder,
        dtype=dtype,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
    )
    wrong = {kind: sorted(map(str, names)) for kind, names in report.items() if names}
    if wrong:
        raise DataError(
            what=f"{folder} does not hold exactly the weights of {type(model).__name__}: {wrong}",
            why="a weight that is missing would stay random, silently",
            fix="export or download the model again",
        )
    return model


def _ends(model: Any) -> frozenset[int]:
    """Ids that the folder's generation configuration ends an answer with."""
    stated = model.generation_config.eos_token_id
    return frozenset() if stated is None else frozenset([stated] if isinstance(stated, int) else stated)


def _marks(model: Any, tokenizer: Any) -> dict[str, Any]:
    """eos and pad. ConfigError where nothing ends an answer."""
    stated = {tokenizer.eos_token_id} - {None}
    eos = _ends(model) | stated
    if not eos:
        raise ConfigError(
            what="neither tokenizer nor generation_config.json names a token that ends an answer",
            why="every answer would run to its cap",
            fix="set eos_token in tokenizer_config.json of the folder",
        )
    pad = tokenizer.pad_token_id
    # Padding is masked, so any id will do.
    return {"eos": eos, "pad": min(eos) if pad is None else pad}
