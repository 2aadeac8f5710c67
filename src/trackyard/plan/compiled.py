"""Loops as machine code. Importing this imports numba, which takes a third of a second: only what needs loops does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(signature: str, function: Callable[..., Any]) -> Any:
    """`function` as machine code for arguments of these types (numba's notation), kept for later processes.

    One signature, since without it numba compiles a function anew for every constant it is called with.

    It is kept beside the source file, or in the user's cache folder where the installation is read-only
    (`NUMBA_CACHE_DIR` names another). Where no folder can be written every process compiles anew: it takes seconds
    more and gives the same results.
    """
    try:
        return njit(signature, cache=True)(function)
    except RuntimeError:  # numba's "no locator available": none of these folders can be written
        return njit(signature)(function)
