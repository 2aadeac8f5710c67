"""Every benchmark that `make bench` runs, one after the other: `python -m benchmarks [NAME ...]`.

Each writes its record and says whether its targets were reached; all of them run even if one misses.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
NAMES = (
    "decode_resize",
    "shard_read",
    "image_loader",
    "token_loader",
    "tokenize_text",
    "pack",
    "mixture",
    "resume",
    "video_sample",
    "startup",
    "ckpt_stall",
    "ckpt_load",
    "checkpoint_share",
    "loop_overhead",
    "estimate",
    "attack_speed",
    "feature_cache",
    "full_plan",
    "answering",
    "tracking",
    "compare_runs",
)
"""In the order of the performance spec, section 10.2. `verify`, `url_ingest`, `text_stream` and
`score_captions` take longer, `score_vqa` and the agreements want a checkout: they go by their names."""


def main(names: list[str]) -> int:
    """0 if every benchmark was steady and reached its targets, 1 if one was not, 2 for a name that does not exist."""
    unknown = [name for name in names if not (HERE / f"{name}.py").is_file()]
    if unknown:
        sys.stderr.write(f"no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}\n")
        return 2
    missed = []
    for name in names or NAMES:
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], cwd=HERE.parent, check=False).returncode:
            missed.append(name)
    print(f"\n{len(names or NAMES)} benchmarks run; not reached or not steady: {', '.join(missed) or 'none'}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
