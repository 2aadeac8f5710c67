"""This machine: packages, disk, accelerator, and the families of models as it builds them. Source: pile-ffn spec 12."""

from __future__ import annotations

import math
from importlib import metadata
from pathlib import Path
from typing import Any

from trackyard.acquire.places import Places, room
from trackyard.errors import EnvironmentLacking
from trackyard.launch.preflight import Seen
from trackyard.recipes.pile_ffn.preflight.parameters import Mode, PreflightParameters


def dependencies(root: Path) -> Seen:
    """Every pin of the lock against what is installed."""
    pins = [line.split("==") for line in (root / "requirements.lock").read_text().splitlines() if "==" in line]
    wrong = []
    for name, version in pins:
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            found = "absent"
        if found.partition("+")[0] != version:
            wrong.append(f"{name} {found}, locked {version}")
    if wrong:
        raise EnvironmentLacking(
            what=f"{len(wrong)} of {len(pins)} packages are not as locked: {'; '.join(wrong[:5])}",
            why="results of another environment cannot be compared",
            fix="make setup",
        )
    return Seen(detail=f"{len(pins)} packages as locked", examined=len(pins))


def disk(parameters: PreflightParameters, mode: Mode, places: Places, root: Path) -> Seen:
    """Room for what a mode fetches, and for what the study will write (`trackyard estimate pile_ffn study`)."""
    fetched = parameters.needed_bytes[mode]
    for path, needed, files in (
        (places.hub, fetched, 1),
        (root / "runs", max(fetched, parameters.planned_bytes), max(parameters.planned_files, 1)),
    ):
        found = room(path)
        if found.free_bytes < needed or (found.free_inodes is not None and found.free_inodes < files):
            raise EnvironmentLacking(
                what=f"{path}: {found.free_bytes:,} bytes and {found.free_inodes} inodes free, "
                f"{needed:,} and {files:,} needed",
                why="a full disk stops the work in the middle",
                fix="free space there, or set HF_HOME to a larger file system"
                if path == places.hub
                else "free space there, or work in a checkout on a larger file system",
            )
    planned = f", {parameters.planned_bytes:,} for the study" if parameters.planned_bytes else ""
    return Seen(detail=f"at least {fetched:,} bytes free for the cache and for runs{planned}", examined=2)


def accelerator(parameters: PreflightParameters) -> Seen:
    """The GPUs that are visible, if any has to be, have the memory that training takes."""
    import torch

    count = torch.cuda.device_count()
    found = [
        (torch.cuda.get_device_name(number), torch.cuda.get_device_properties(number).total_memory)
        for number in range(count)
    ]
    if parameters.needs_accelerator and count == 0:
        raise EnvironmentLacking(
            what="no GPU is visible",
            why="the configured stage needs one",
            fix="run the check on a GPU node, or check CUDA_VISIBLE_DEVICES and the driver",
        )
    too_small = [f"{name} with {memory:,} bytes" for name, memory in found if memory < parameters.device_bytes]
    if too_small:
        raise EnvironmentLacking(
            what=f"{too_small[0]}: training takes {parameters.device_bytes:,}",
            why="it would run out of memory in its first step",
            fix="trackyard estimate pile_ffn train names the smallest change that fits; or use a larger GPU",
        )
    devices = ", ".join(f"{name} {memory / 1e9:.0f} GB" for name, memory in found)
    return Seen(detail=devices or "none visible, none needed", examined=1)


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
