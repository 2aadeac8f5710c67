"""All benchmarks that want a GPU, one after the other: `python -m benchmarks.gpu [NAME ...]`.

Each writes its record and says whether its targets were reached; all of them run even if one misses.
"""

from __future__ import annotations

import subprocess
import sys

from benchmarks.gpu.device import lacking
from benchmarks.harness import ROOT
from trackyard.errors import EXIT_DONE, EXIT_ENVIRONMENT, EXIT_FAILED, EXIT_USAGE

NAMES = ("sync_free", "gpu_lm", "gpu_vlm", "gpu_proj")
"""G4, G1, G3 and G2: what takes least first."""


def main(names: list[str]) -> int:
    """0 if all targets were reached, 1 if one was not, 2 for a name that does not exist, 3 without a GPU."""
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        sys.stderr.write(f"no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}\n")
        return EXIT_USAGE
    reason = lacking()
    if reason is not None:
        sys.stderr.write(reason + "\n")
        return EXIT_ENVIRONMENT
    missed = [
        name
        for name in names or NAMES
        if subprocess.run([sys.executable, "-m", f"benchmarks.gpu.{name}"], cwd=ROOT, check=False).returncode
    ]
    print(f"\n{len(names or NAMES)} benchmarks run; not reached or not steady: {', '.join(missed) or 'none'}")
    return EXIT_FAILED if missed else EXIT_DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
