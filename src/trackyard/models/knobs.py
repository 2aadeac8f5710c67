"""Which decoder blocks of a stock model run. Source: nine-datasets spec section 5 (knob `blocks`) and section 11.

A skipped block hands its input on and writes no keys and values. Stock classes read the length of what is cached from
block 0, which is therefore never skipped; nor is the last block. Where a cache has layers of several kinds (sliding
window and full attention, as Gemma 3's own), they read it from the first of each kind as well: see `_hand_on_unless`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from trackyard.errors import ConfigError

FORWARD = "forward"


def decoder_blocks(model: nn.Module) -> nn.ModuleList:
    """The blocks of a model's decoder, in order: as many as its text configuration says.

    They are told from a vision tower's blocks and from lists of experts by what they hold: attention that knows its
    place in the cache. ConfigError unless exactly one list is that.
    """
    depth = _text_config(model).num_hidden_layers
    found = [
        module
        for module in model.modules()
        if isinstance(module, nn.ModuleList) and len(module) == depth and _numbered(module)
    ]
    if len(found) != 1:
        raise ConfigError(
            what=f"{len(found)} lists of {depth} decoder blocks in a {type(model).__name__}",
            why="a block to be skipped, and where importance is measured, must be found without guessing",
            fix="pass a decoder of transformers (Molmo2, Gemma 3, Llama, Qwen, GPT-NeoX, OLMoE, Mixtral), whole",
        )
    return found[0]


@contextmanager
def kept_blocks(model: nn.Module, indices: Iterable[int]) -> Iterator[None]:
    """Run only these blocks while the context is open; afterwards, errors included, the model is as it was.

    With all blocks nothing is touched. ConfigError for a block that does not exist or is named twice, and without the
    first or the last block.
    """
    blocks, kept = decoder_blocks(model), list(indices)
    _check(kept, depth=len(blocks))
    skipped = {number: block for number, block in enumerate(blocks) if number not in kept}
    leading = _first_of_kind(model)
    # Not the module is replaced but what it runs: hooks, attributes and names that others rely on stay where they are.
    earlier = {number: block.__dict__.get(FORWARD) for number, block in skipped.items()}
    try:
        for number, block in skipped.items():
            setattr(block, FORWARD, _hand_on_unless(number) if number in leading else _hand_on)
        yield
    finally:
        for number, block in skipped.items():
            own = earlier[number]
            if own is not None:
                setattr(block, FORWARD, own)
            elif FORWARD in block.__dict__:
                delattr(block, FORWARD)


def _hand_on(hidden_states: torch.Tensor, *_args: Any, **_kwargs: Any) -> torch.Tensor:
    """Stands for a block's forward: [N, T, D] as it came in."""
    return hidden_states


def _hand_on_unless(number: int) -> Callable[..., torch.Tensor]:
    """The same for the first block of a kind: ConfigError under a cache that tells kinds of layers apart.

    The mask of every block of that kind would be sized by this one's cache, which stays empty.
    """

    def forward(hidden_states: torch.Tensor, *_args: Any, **kwargs: Any) -> torch.Tensor:
        cache = kwargs.get("past_key_values", kwargs.get("layer_past"))
        layers = cache.layers if cache is not None else []
        if number < len(layers) and type(layers[number]) not in {type(layer) for layer in layers[:number]}:
            raise ConfigError(
                what=f"block {number} is skipped, the first whose cache is a {type(layers[number]).__name__}",
                why="a stock model reads there how much is cached, and would see padding and lose what came before",
                fix=f"pass past_key_values=DynamicCache(), made without a configuration, or keep block {number}",
            )
        return hidden_states

    return forward


def _first_of_kind(model: nn.Module) -> frozenset[int]:
    """The first block of each kind that the cache of the model's own configuration has."""
    from transformers.cache_utils import DynamicCache

    kinds = [type(layer) for layer in DynamicCache(config=_text_config(model)).layers]
    return frozenset(kinds.index(kind) for kind in kinds)


def _check(kept: list[int], *, depth: int) -> None:
    wrong = sorted({index for index in kept if not 0 <= index < depth or kept.count(index) > 1})
    missing = sorted({0, depth - 1} - set(kept))
    if not wrong and not missing:
        return
    problem = f"without {missing}" if missing else f"{wrong} are not there or named twice"
    raise ConfigError(
        what=f"kept blocks {kept} of {depth}: {problem}",
        why="a stock model reads the cached length from its first block, and its last block writes what the head reads",
        fix=f"keep 0 and {depth - 1}, and any others between them, each once",
    )


def _numbered(blocks: nn.ModuleList) -> bool:
    """Whether each block, and nothing else in it, holds attention that carries the block's number as cache index."""
    return len(blocks) > 0 and all(
        {part.layer_idx for part in block.modules() if isinstance(getattr(part, "layer_idx", None), int)} == {number}
        for number, block in enumerate(blocks)
    )


def _text_config(model: nn.Module) -> Any:
    config: Any = getattr(model, "config", None)
    if not hasattr(config, "get_text_config"):
        raise ConfigError(
            what=f"a {type(model).__name__} without a configuration of transformers",
            why="the number of its decoder blocks is read there",
            fix="pass the model that transformers made, and not one that holds it",
        )
    return config.get_text_config(decoder=True)
