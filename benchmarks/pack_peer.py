"""The packer of the official Molmo2 release on the seeded trace: `pack_peer.py CHECKOUT ROWS`, without trackyard.

The file of the checkout runs as it is. What it imports only to join tensors is replaced by empty stand-ins, and an
example is two ranges of the right lengths, so nothing but pool and solver takes time.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks.measured import report
from benchmarks.row_trace import INPUTS, SEED, TOKENS, row_trace

STAND_INS: dict[str, dict[str, Any]] = {
    "olmo.config": {"BaseConfig": object},
    "olmo.models.molmo_point.molmo_point_example_preprocessor": {"NO_POINTS_LABEL": -1},
    "olmo.preprocessing.preprocessor_utils": {"TOKEN_POOLING_KEYS": ()},
    "olmo.dist_util": {"get_cp_mesh": None},
    "olmo.torch_util": {"get_rank": None},
}
BUFFERED, IMAGE_WEIGHT = 48, 30
"""As the release sets them for fine-tuning."""


def packer_of(checkout: Path) -> Any:
    """The module `olmo.data.dynamic_packer`, giving the examples of a pack instead of their tensors joined."""
    for name, content in STAND_INS.items():
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            sys.modules.setdefault(".".join(parts[:end]), ModuleType(".".join(parts[:end])))
        vars(sys.modules[name]).update(content)
    spec = importlib.util.spec_from_file_location("dynamic_packer", checkout / "olmo" / "data" / "dynamic_packer.py")
    if spec is None or spec.loader is None:
        sys.exit(f"no olmo/data/dynamic_packer.py in {checkout}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    vars(module)["pack_with_cp"] = lambda *examples, cp_world_size: [example["number"] for example in examples]
    return module


def main() -> None:
    checkout, rows = Path(sys.argv[1]), int(sys.argv[2])
    module = packer_of(checkout)
    tokens, inputs, _ = row_trace(rows, np.random.default_rng(SEED))
    config = module.PackingConfig(buffer_size=BUFFERED, image_weight=IMAGE_WEIGHT)
    solver = config.bulid(TOKENS, INPUTS)
    examples = [
        {"number": number, "input_tokens": range(t), "images": range(i)}
        for number, (t, i) in enumerate(zip(tokens.tolist(), inputs.tolist(), strict=True))
    ]

    def work() -> tuple[float, Any]:
        packs = [pack for number, example in enumerate(examples) if (pack := solver(number, example)) is not None]
        packed = np.concatenate(packs)
        used = [np.array([column[pack].sum() for pack in packs]) for column in (tokens, inputs)]
        return len(packed), {
            "fill": float(used[0].sum() / (TOKENS * len(packs))),
            "over": int(((used[0] > TOKENS) | (used[1] > INPUTS)).sum()),
            "twice": len(packed) - len(np.unique(packed)),
            "rows_per_pack": len(packed) / len(packs),
        }

    report(work)


if __name__ == "__main__":
    main()
