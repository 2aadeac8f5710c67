"""Imports of libraries of thousands of modules: no garbage is looked for among what they make, and less is brought in.

Nearly all of it stays until the process ends, and Python would walk through the whole of it again and again while it
grows: a quarter of the time that torch, transformers and DeepSpeed take. Source: documentation of `gc.freeze`.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module


def import_heavy(*names: str) -> None:
    """Import these modules; nothing happens if all of them are imported already.

    What is alive then is exempt from later collections as well: a cycle through anything of before is never freed. So
    call this early, before there is a model. Forks of the process share these pages for as long.
    """
    if all(name in sys.modules for name in names):
        return
    collects = gc.isenabled()
    gc.disable()
    try:
        for name in names:
            import_module(name)
    finally:
        gc.freeze()
        if collects:
            gc.enable()


@contextmanager
def hidden(name: str) -> Iterator[None]:
    """In the block, importing `name` fails as where it is not installed; of a module that is there already, it works.

    For libraries that import another one wherever they find it. No other thread may import it meanwhile.
    """
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]
