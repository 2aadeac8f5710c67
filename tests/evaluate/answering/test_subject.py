"""The three parts of a subject: nothing in them asks the device for a value."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.evaluate.answering.families import case
from trackyard.evaluate.answering.cache import new_cache
from trackyard.evaluate.answering.subject import left_padded, places

WAITING = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::is_nonzero", "aten::equal"}
"""Operations whose result, or its size, the host must have before it goes on."""


class _Waits(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        masks = name.startswith("aten::index") and any(
            isinstance(one, torch.Tensor) and one.dtype == torch.bool
            for part in args
            if isinstance(part, list | tuple)
            for one in part
        )
        if name in WAITING or masks:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@contextmanager
def waits() -> Iterator[list[str]]:
    with _Waits() as mode:
        yield mode.found


@pytest.mark.parametrize("family", ["molmo2", "gemma_near"])
def test_no_part_waits_for_the_device(family: str) -> None:
    subject, keyed = case(family)
    prompts = [prompt for _, prompt, _ in keyed[:5]]
    cache = new_cache()
    length = max(len(prompt) for prompt in prompts)
    mask = torch.from_numpy(
        np.pad(left_padded([np.ones(len(one), dtype=np.bool_) for one in prompts], False), ((0, 0), (0, 1)))
    )
    mask[:, -1] = True
    positions = torch.tensor([[len(one)] for one in prompts])
    with torch.inference_mode(), waits() as found:
        logits = subject.first(prompts, subject.embeddings(prompts), cache)
        subject.next(logits.argmax(-1)[:, None], mask, positions, cache)
    assert mask.shape[1] == length + 1
    assert found == []


def test_the_stock_way_waits() -> None:
    """Negative control: a mask that the stock class makes by itself is asked for its values."""
    subject, keyed = case("molmo2")
    ids = torch.from_numpy(keyed[0][1].ids)[None]
    with torch.inference_mode(), waits() as found:
        subject.model(input_ids=ids, attention_mask=torch.ones_like(ids))
    assert found


def test_places_are_those_of_the_flattened_batch() -> None:
    _, keyed = case("gemma")
    prompts = [prompt for _, prompt, _ in keyed]
    length = max(len(one) for one in prompts)
    wanted = [
        row * length + length - len(one) + place
        for row, one in enumerate(prompts)
        for place in np.flatnonzero(one.visual).tolist()
    ]
    assert places(prompts).tolist() == wanted
