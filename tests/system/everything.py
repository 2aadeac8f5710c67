"""One clone in which `make demo-all` ran, for every test file that looks at what whole pipelines put out.

It takes a quarter of an hour, so the files of `SHARED_BY` use it in turn, in one process (`tests.conftest`).
"""

from __future__ import annotations

import itertools
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.system.commands import ROOT, environment, run

SECRET = "hf_" + "CaNaRy" * 6
"""Of the form of a hub's token; in the environment while everything runs."""
PERSON = "someone.private@example.org"
SHARED_BY = frozenset(
    f"tests/system/test_{name}.py"
    for name in ("demo", "demo_all", "demo_inside", "pile_ffn", "datacomp", "nine", "publication")
)

_STAGE = re.compile(r"^Running stage '([^']+)'", re.M)
_BESIDE = re.compile(r"^(stage3|pipelines/\w+/dvc\.yaml): ")
"""Before each line of a pipeline that runs beside another one."""


@dataclass(frozen=True, kw_only=True)
class Everything:
    """out: what make printed. seconds: that it took."""

    clone: Path
    out: str
    seconds: float

    def ran(self) -> list[str]:
        """Stages in the order in which they ran."""
        return _STAGE.findall(self.out)

    def out_of(self, pipeline: str) -> str:
        """What the stages of one dvc.yaml printed. pipeline: "" for the root's."""
        starts = [*_STAGE.finditer(self.out), None]
        parts = [
            self.out[begin.start() : None if end is None else end.start()]
            for begin, end in itertools.pairwise(starts)
            if begin is not None and begin[1].rpartition(":")[0] == pipeline
        ]
        return "".join(parts)


def run_everything(clone: Path) -> Everything:
    """Clone the last commit to `clone` and make everything in it, with the environment of these tests."""
    run(["git", "clone", "--quiet", str(ROOT), str(clone)], ROOT)
    started = time.monotonic()
    done = subprocess.run(
        # The packages are those that the tests run with: setup has been done.
        ["make", "--old-file=setup", "demo-all"], cwd=clone, env=environment() | {"HF_TOKEN": SECRET, "EMAIL": PERSON},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return Everything(clone=clone, out=_in_turn(done.stdout), seconds=time.monotonic() - started)


def _in_turn(out: str) -> str:
    """The lines as if one pipeline had run after the other."""
    found = [(_BESIDE.match(line), line) for line in out.splitlines(keepends=True)]
    beside: dict[str, list[str]] = {}
    for match, line in found:
        if match:
            beside.setdefault(match[1], []).append(line[match.end() :])
    alone = [line for match, line in found if not match]
    return "".join(line for lines in [*beside.values(), alone] for line in lines)
