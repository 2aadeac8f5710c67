"""Compiled loops: kept where a folder can be written, compiled anew where none can, and only loaded to plan."""

from __future__ import annotations

import subprocess
import sys

from trackyard.plan.compiled import compiled


def test_without_a_folder_for_it_the_code_is_compiled_for_this_process() -> None:
    """A function of no file stands for an installation and a home that cannot be written."""
    space: dict[str, object] = {}
    exec(compile("def double(x):\n    return x + x\n", "<nowhere>", "exec"), space)
    double = compiled("int64(int64)", space["double"])  # type: ignore[arg-type]
    assert double(21) == 42
    assert len(double.signatures) == 1


def test_numba_is_not_loaded_before_something_is_planned() -> None:
    code = "import sys, trackyard.plan.build; sys.exit('numba' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
