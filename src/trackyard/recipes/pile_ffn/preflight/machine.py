"""This machine: its disk, and the families of models as it builds them. Source: pile-ffn spec section 12."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from trackyard.acquire.places import Places
from trackyard.errors import EnvironmentLacking
from trackyard.launch.preflight import Seen
from trackyard.launch.room import Needed, require_room
from trackyard.recipes.checking.machine import LARGER_CACHE, LARGER_CHECKOUT
from trackyard.recipes.pile_ffn.preflight.parameters import Mode, PreflightParameters


def disk(parameters: PreflightParameters, mode: Mode, places: Places, root: Path) -> Seen:
    """Room for what a mode fetches, and for what the study will write (`trackyard estimate pile_ffn study`)."""
    fetched = parameters.needed_bytes[mode]
    planned_bytes, planned_files = max(fetched, parameters.planned_bytes), max(parameters.planned_files, 1)
    require_room(
        (
            Needed(path=places.hub, bytes=fetched, files=1, fix=LARGER_CACHE),
            Needed(path=root / "runs", bytes=planned_bytes, files=planned_files, fix=LARGER_CHECKOUT),
        )
    )
    planned = f", {parameters.planned_bytes:,} for the study" if parameters.planned_bytes else ""
    return Seen(detail=f"at least {fetched:,} bytes free for the cache and for runs{planned}", examined=2)


def self_test() -> Seen:
    """Tiny random models of both families, without a network: matrices counted, one finite loss each."""
    import torch
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM

    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    families: dict[str, tuple[Any, int]] = {
        "GPT-NeoX": (GPTNeoXForCausalLM(GPTNeoXConfig(vocab_size=128, **shape)), 4),
        "Llama": (LlamaForCausalLM(LlamaConfig(vocab_size=128, num_key_value_heads=4, **shape)), 6),
    }
    tokens = torch.arange(16).unsqueeze(0)
    for family, (model, matrices) in families.items():
        found = sum(tensor.ndim == 2 for name, tensor in model.named_parameters() if ".mlp." in name)
        with torch.no_grad():
            loss = float(model(input_ids=tokens, labels=tokens).loss)
        if found != matrices or not math.isfinite(loss):
            raise EnvironmentLacking(
                what=f"a tiny {family} has {found} feed-forward matrices, expected {matrices}; loss {loss}",
                why="this environment builds other models than the study is about",
                fix="make setup",
            )
    return Seen(detail="GPT-NeoX 4 and Llama 6 feed-forward matrices, losses finite", examined=len(families))
