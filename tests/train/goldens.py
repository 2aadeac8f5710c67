"""Fifty steps of each track's tiny model: `python -m tests.train.goldens` prints their losses as JSON.

`--write` stores them as golden_losses.json: after a change that is meant to alter numbers, with a line in CHANGELOG
that says why. The arithmetic is pinned to instructions that every x86-64 processor has, one thread, so that the losses
are the same to the bit wherever the pinned packages run.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

PINNED = {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
GOLDEN = Path(__file__).with_name("golden_losses.json")
STEPS = 50
TRACKS = {"molmo2": "molmo2", "gpt_neox": "pile_ffn", "gemma3": "datacomp"}
"""Model family to the track that trains it."""


def losses(family: str) -> list[str]:
    """Loss of every step, exactly (hexadecimal)."""
    import torch

    from tests.train.equality_worlds import FAMILIES
    from trackyard.train.engine import Engine
    from trackyard.train.parameters import ComponentRate, EngineParameters, OptimiserParameters
    from trackyard.train.ranks import join_ranks

    torch.backends.mkldnn.enabled = False  # chooses its kernels by the processor
    tiny = FAMILIES[family]
    engine = Engine(
        tiny.build(),
        component_of=tiny.component_of,
        optimiser=OptimiserParameters(
            rates={name: ComponentRate(learning_rate=1e-3, warmup_steps=5) for name in tiny.components}
        ),
        engine=EngineParameters(),
        packs_per_step=2,
        steps=STEPS,
        forward=tiny.forward(None),
        ranks=join_ranks(1),
    )
    packs = tiny.packs()[:2]
    weight = sum(float(one.weights.sum(dtype="float64")) for one in packs)
    return [float(engine.step(number, packs, weight).loss).hex() for number in range(STEPS)]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    if any(os.environ.get(name) != value for name, value in PINNED.items()):
        os.execve(sys.executable, [sys.executable, "-m", "tests.train.goldens", *sys.argv[1:]], os.environ | PINNED)
    found = json.dumps({track: losses(family) for family, track in TRACKS.items()}, indent=1) + "\n"
    (GOLDEN.write_text if given.write else sys.stdout.write)(found)
    sys.stdout.flush()
    os._exit(0)  # the process group is not taken down: nothing waits for it


if __name__ == "__main__":
    sys.exit(main())
