"""Hidden states of sentences after every layer, pooled over their tokens. Source: pile-ffn spec section 9.

States are those that a layer hands to the next one. The table of embeddings is no layer: all sentences end in the same
token, whose embedding would keep every order. The final norm is left out, so that layers are read in one space.

Shapes: L layers; S sentences; B of them at once; T tokens; D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch

from trackyard.errors import ConfigError, DataError
from trackyard.models.nonneg_names import FAMILIES

LONGEST = 64
"""Tokens of a sentence that are read."""
PAD = 0
"""Fills rows on the right. Any id of the vocabulary does: a causal model does not see what comes later."""

Pooling = Literal["last", "mean"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)
"""The last token, which is primary, and the mean over all tokens of a sentence."""
Passed = Literal["input", "output"]
"""Which side of a module."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoded:
    """Token ids of each sentence, at most LONGEST. cut: sentences that have more."""

    ids: tuple[tuple[int, ...], ...]
    cut: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """rows_B: which sentences; lengths_B: their tokens; ids_BT: padded on the right."""

    rows_B: torch.Tensor
    lengths_B: torch.Tensor
    ids_BT: torch.Tensor


def encode(tokenizer: Any, sentences: Sequence[str]) -> Encoded:
    """By a tokenizer of transformers, with the mark of beginning that its family has; DataError for an empty one."""
    found = [tuple(ids) for ids in tokenizer(list(sentences))["input_ids"]]
    if not all(found):
        raise DataError(
            what=f"{sentences[found.index(())]!r} has no tokens",
            why="there is no state to read, and leaving the sentence out would change the corpus",
            fix="prepare the tokenizer again: dvc repro -f pipelines/pile_ffn/dvc.yaml:tokenize",
        )
    return Encoded(ids=tuple(ids[:LONGEST] for ids in found), cut=sum(len(ids) > LONGEST for ids in found))


def layers_of(model: Any) -> list[Any]:
    """The layers of a model of the study, each with its feed-forward part as `mlp`; ConfigError for another family."""
    if model.config.model_type not in FAMILIES:
        raise ConfigError(
            what=f"hidden states of a model of type {model.config.model_type!r}",
            why="where its layers and their feed-forward parts lie is not known",
            fix=f"set the model in params.yaml to one of type {', '.join(FAMILIES)}",
        )
    return list(model.base_model.layers)


def batches(ids: Sequence[Sequence[int]], batch: int) -> Iterator[Batch]:
    """All sentences, those of like length together."""
    order = sorted(range(len(ids)), key=lambda row: len(ids[row]), reverse=True)
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        lengths = [len(ids[row]) for row in rows]
        padded = [[*ids[row], *[PAD] * (lengths[0] - len(ids[row]))] for row in rows]
        yield Batch(rows_B=torch.tensor(rows), lengths_B=torch.tensor(lengths), ids_BT=torch.tensor(padded))


def pooled_states(model: Any, ids: Sequence[Sequence[int]], *, batch: int) -> Mapping[Pooling, torch.Tensor]:
    """States [L, S, D] by pooling, fp32 on the CPU.

    model: causal, of transformers, in fp32 and set to evaluate. ConfigError as `layers_of`; DataError for states that
    are no numbers.
    """
    layers = layers_of(model)
    found = {name: torch.empty(len(layers), len(ids), model.config.hidden_size) for name in POOLINGS}
    for part in batches(ids, batch):
        for number, states_BTD in enumerate(passed(model, part, layers, "output")):
            lengths_B = part.lengths_B.to(states_BTD.device)
            for name in POOLINGS:
                found[name][number, part.rows_B] = _pooled(states_BTD, lengths_B, name).cpu()
    for name, states_LSD in found.items():
        if not bool(states_LSD.isfinite().all()):
            raise DataError(
                what=f"hidden states ({name}) that are no numbers",
                why="no order can be read from them, and comparisons with them are all false",
                fix="verify the export that is probed: its weights may not be finite",
            )
    return found


def passed(model: Any, part: Batch, modules: Sequence[torch.nn.Module], take: Passed) -> list[torch.Tensor]:
    """What each module is given, or gives, while the model reads a batch: [B, T, D] on its device."""
    seen: list[torch.Tensor] = []

    def keep(_module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        seen.append(inputs[0] if take == "input" else output)

    with ExitStack() as hooks, torch.inference_mode():
        for module in modules:
            hooks.callback(module.register_forward_hook(keep).remove)
        model.base_model(input_ids=part.ids_BT.to(next(model.parameters()).device), use_cache=False)
    return seen


def _pooled(states_BTD: torch.Tensor, lengths_B: torch.Tensor, pooling: Pooling) -> torch.Tensor:
    """[B, D]."""
    if pooling == "last":
        return states_BTD[torch.arange(len(lengths_B), device=lengths_B.device), lengths_B - 1]
    inside_BT = torch.arange(states_BTD.shape[1], device=lengths_B.device) < lengths_B[:, None]
    return (states_BTD * inside_BT[..., None]).sum(dim=1) / lengths_B[:, None]
