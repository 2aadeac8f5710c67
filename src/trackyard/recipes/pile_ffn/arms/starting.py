"""The models that arms start from: the untouched export, constrained as the arm says; or random weights that are made.

Source: pile-ffn spec sections 2 to 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from transformers import AutoModelForCausalLM, GPTNeoXConfig, LlamaConfig, PreTrainedTokenizerFast, Qwen2Config

from trackyard.errors import ConfigError, DataError, IdentityError
from trackyard.imports import import_heavy
from trackyard.models.nonneg import Constrained, constrain
from trackyard.models.nonneg_export import EXACT
from trackyard.models.nonneg_names import Form
from trackyard.models.nonneg_variants import Declaration
from trackyard.recipes.pile_ffn.cells import UNTOUCHED, Arm, Cell
from trackyard.recipes.pile_ffn.parameters import MadeModelParameters
from trackyard.recipes.pile_ffn.study import Study

POSITIONS = 2048
"""Of a made model, as of Pythia; they are rotary, so that unused ones cost nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """A model in fp32 before its first update. constrained: what was done to it, None where nothing is constrained."""

    model: Any
    constrained: Constrained | None = None

    @property
    def declaration(self) -> Declaration | None:
        return None if self.constrained is None else self.constrained.declaration


def start_of(study: Study, arm: Arm) -> Start:
    """The untouched model as `arm` starts with it. ConfigError for an arm that is not trained, or does not fit it."""
    if not arm.trained:
        raise ConfigError(
            what=f"{arm.name} has no start",
            why="it is not trained",
            fix="correct the arms of pile_ffn in params.yaml",
        )
    folder = study.export(Cell(arm=UNTOUCHED, seed=None)) / EXACT
    model = load_plain(folder, fix="dvc repro -f pipelines/pile_ffn/dvc.yaml:untouched")
    if arm.variant is None:
        return Start(model=model)
    return Start(model=model, constrained=constrain(model, arm.variant, cast(Form, arm.kind)))


def load_plain(folder: Path, *, fix: str) -> Any:
    """A saved model in fp32 on the host. DataError unless the folder holds every weight that the model has.

    fix: the command that makes the folder anew.
    """
    import_heavy("transformers.modeling_utils")
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError) as error:
        raise DataError(
            what=f"{folder} cannot be loaded as a language model: {' '.join(str(error).split())[:300]}",
            why="its weights are the ones that are measured, or that arms start from",
            fix=fix,
        ) from error
    lacking = sorted({*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])})
    if lacking:
        raise DataError(
            what=f"{folder} lacks {len(lacking)} weights of {type(model).__name__}, {lacking[0]} first",
            why="they would be drawn at random, and it would silently be another model",
            fix=fix,
        )
    return model


def made_model(made: MadeModelParameters, tokenizer: PreTrainedTokenizerFast) -> Any:
    """Random weights of the wanted family and size, the same for the same seed. ConfigError if the ids do not fit."""
    if len(tokenizer) > made.vocabulary:
        raise ConfigError(
            what=f"the tokenizer has {len(tokenizer)} entries, model.made.vocabulary is {made.vocabulary}",
            why="an id beyond the table of embeddings has no row",
            fix="dvc repro -f pipelines/pile_ffn/dvc.yaml:tokenize   (it trains the tokenizer for this vocabulary)",
        )
    sizes: dict[str, Any] = {
        "vocab_size": made.vocabulary,
        "hidden_size": made.hidden,
        "num_hidden_layers": made.layers,
        "num_attention_heads": made.heads,
        "intermediate_size": made.ffn,
        "max_position_embeddings": POSITIONS,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    if made.family != "gpt_neox":
        # As in the published ones: fewer heads of keys than of queries, and in small Qwen2 the head is the table.
        sizes |= {"num_key_value_heads": max(1, made.heads // 2), "tie_word_embeddings": made.family == "qwen2"}
    kinds: Mapping[str, Any] = {"gpt_neox": GPTNeoXConfig, "llama": LlamaConfig, "qwen2": Qwen2Config}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(made.seed)
        return AutoModelForCausalLM.from_config(kinds[made.family](**sizes), dtype=torch.float32)


@torch.no_grad()
def take_weights(model: Any, weights: Mapping[str, torch.Tensor]) -> None:
    """Give a model its trained weights, by the names of its parameters. IdentityError unless they are exactly these.

    A state of the model would name weights that are shared twice.
    """
    named = dict(model.named_parameters())
    if named.keys() != weights.keys():
        stray = sorted(named.keys() ^ weights.keys())
        raise IdentityError(
            what=f"{len(stray)} trained weights and parameters have no counterpart, {stray[0]} first",
            why="the trained model is not of the arm that it would be exported as",
            fix="look at the declaration of the arm's init stage, then train the arm again",
        )
    for name, parameter in named.items():
        parameter.copy_(weights[name])
