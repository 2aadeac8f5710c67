"""`python -m trackyard.recipes.molmo2.worker PARAMETERS STAGE ATTEMPT RUN`: the program of one rank of several.

It imports nothing of weight by itself: every process that decodes for this rank imports its main module again.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import cast

from trackyard.launch.processes import end_with_parent


def main(arguments: list[str]) -> int:
    """End with the parent, whatever happens to it; else train this rank's share."""
    end_with_parent()
    from trackyard.recipes.molmo2.parameters import StageName, load_molmo2
    from trackyard.recipes.molmo2.prepare import prepare
    from trackyard.recipes.molmo2.training import Molmo2Job
    from trackyard.recipes.running.one_rank import run_rank

    parameter_file, stage, attempt, run_id = arguments

    def prepared() -> Molmo2Job:
        return Molmo2Job(prepare(load_molmo2(Path(parameter_file)), cast(StageName, stage), Path.cwd()))

    return run_rank(prepared, int(attempt), run_id)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
