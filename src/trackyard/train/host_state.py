"""What a run knows besides tensors of the model, in a form that is read without executing anything.

Values become JSON, tensors and arrays become tensors of a file, generators of random numbers become arrays.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from trackyard.errors import CheckpointError

_PLACE = "tensor"
"""The only key of a JSON object that stands for a tensor; its value is the tensor's name in the file."""
_HOST, _RNG = "host", "rng"


def split_host_state(state: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """JSON and the tensors in it by name, as they are now: copies, on their way to host memory.

    Raises CheckpointError naming what is neither JSON nor a tensor.
    """
    tensors: dict[str, torch.Tensor] = {}
    document = {key: _split(value, f"{_HOST}/{key}", tensors) for key, value in state.items()}
    return document, tensors


def _split(value: Any, place: str, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(value)
    if isinstance(value, torch.Tensor):
        tensors[place] = value.detach().to("cpu", non_blocking=True, copy=True)
        return {_PLACE: place}
    if isinstance(value, Mapping):
        if _PLACE in value or not all(isinstance(key, str) for key in value):
            raise _refused(place, f"keys {sorted(map(repr, value))}")
        return {key: _split(item, f"{place}/{key}", tensors) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_split(item, f"{place}/{number}", tensors) for number, item in enumerate(value)]
    try:
        # Numbers stay exact: Python writes the shortest text that reads as the same float.
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise _refused(place, repr(value)) from error


def _refused(place: str, value: str) -> CheckpointError:
    return CheckpointError(
        what=f"the state of the run holds {value} at {place}",
        why="a checkpoint holds JSON (with names as keys, without NaN) and tensors, never pickled objects",
        fix="give it as numbers, text, lists, mappings with text as keys, or a tensor",
    )


def join_host_state(document: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    """What `split_host_state` was given, from proved files; the tensors are copies."""
    if isinstance(document, dict):
        if set(document) == {_PLACE}:
            return tensors[document[_PLACE]].clone()
        return {key: join_host_state(value, tensors) for key, value in document.items()}
    if isinstance(document, list):
        return [join_host_state(value, tensors) for value in document]
    return document


def random_state() -> dict[str, torch.Tensor]:
    """The generators of torch (host, and device where there is one) and NumPy, as arrays."""
    state: Any = np.random.get_state(legacy=True)
    rest = torch.tensor([state[2], state[3], state[4]], dtype=torch.float64)
    arrays = {
        f"{_RNG}/torch": torch.get_rng_state(),
        f"{_RNG}/numpy": torch.from_numpy(state[1].astype(np.int64)),
        f"{_RNG}/numpy-place": rest,
    }
    if torch.cuda.is_available():
        arrays[f"{_RNG}/cuda"] = torch.cuda.get_rng_state()
    return arrays


def restore_random_state(arrays: Mapping[str, torch.Tensor]) -> None:
    """Let the generators go on where `random_state` found them."""
    torch.set_rng_state(arrays[f"{_RNG}/torch"].clone())
    place, has_gauss, gauss = arrays[f"{_RNG}/numpy-place"].tolist()
    keys = arrays[f"{_RNG}/numpy"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", keys, int(place), int(has_gauss), gauss))
    if f"{_RNG}/cuda" in arrays and torch.cuda.is_available():
        torch.cuda.set_rng_state(arrays[f"{_RNG}/cuda"].clone())
