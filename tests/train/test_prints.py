"""Fingerprints tell the same from the changed, and movement from rounding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trackyard.train.prints import CHUNK, Print, Printer

PRINTER = Printer(torch.device("cpu"))


def prints(*tensors: torch.Tensor) -> list[Print]:
    return PRINTER.take(tensors)


@given(st.integers(1, 400), st.data(), st.sampled_from([torch.float32, torch.bfloat16]))
def test_one_changed_element_is_seen(size: int, data: st.DataObject, dtype: torch.dtype) -> None:
    before = torch.randn(size, generator=torch.Generator().manual_seed(size)).to(dtype)
    at = data.draw(st.integers(0, size - 1))
    after = before.clone()
    after.view(torch.int16 if dtype == torch.bfloat16 else torch.int32)[at] ^= 1
    one, again, other = prints(before, before.clone(), after)
    assert one.same(again)
    assert not one.same(other)
    assert not one.moved(again)


@pytest.mark.parametrize("size", [1, 2, 3, 1000, 2 * CHUNK + 17])
@pytest.mark.parametrize("how", ["all by one step of Adam", "half up and half down", "one element"])
def test_a_step_is_a_movement(size: int, how: str) -> None:
    before = 0.02 * torch.randn(size, generator=torch.Generator().manual_seed(0))
    change = torch.full((size,), 1e-5)
    if how == "half up and half down":
        change[::2] *= -1
    if how == "one element":
        change[1:] = 0
        change *= 1 if size < CHUNK else 100
    one, other = prints(before, before + change)
    assert one.moved(other)


@pytest.mark.parametrize("size", [1, 7, 3 * CHUNK])
def test_negative_control_rounding_is_a_change_but_no_movement(size: int) -> None:
    before = 0.02 * torch.randn(size, generator=torch.Generator().manual_seed(0))
    after = torch.nextafter(before, torch.full((), 10.0))
    one, other = prints(before, after)
    assert not one.same(other)
    assert not one.moved(other)


def test_a_tensor_of_zeros_moves_by_anything() -> None:
    one, other = prints(torch.zeros(5), torch.tensor([0.0, 0.0, 1e-30, 0.0, 0.0]))
    assert one.moved(other)


def test_chunks_that_change_places_are_another_tensor() -> None:
    first, second = torch.ones(CHUNK), torch.full((CHUNK,), 2.0)
    one, other = prints(torch.cat((first, second)), torch.cat((second, first)))
    assert not one.same(other)
    assert one.moved(other)


def test_nothing_has_no_prints() -> None:
    assert prints() == []
