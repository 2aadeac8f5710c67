"""Imports of libraries of thousands of modules, without looking for garbage among what they make.

Nearly all of it stays until the process ends, and Python would walk through the whole of it again and again while it
grows: a quarter of the time that torch, transformers and DeepSpeed take. Source: documentation of `gc.freeze`.
"""

from __future__ import annotations

import gc
import sys
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
