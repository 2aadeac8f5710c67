"""What is sent to a device is not copied on the way there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from trackyard.models.sending import sent

CPU = torch.device("cpu")


@pytest.mark.parametrize("array", [np.arange(3), torch.arange(3)])
def test_on_the_host_nothing_is_copied(array: Any) -> None:
    here = sent(array, CPU)
    array[0] = 7
    assert here.tolist() == [7, 1, 2]
