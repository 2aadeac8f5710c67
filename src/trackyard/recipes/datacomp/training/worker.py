"""`python -m trackyard.recipes.datacomp.training.worker PARAMETERS CELL ATTEMPT RUN`: one rank of several.

It imports nothing of weight by itself, until the process is tied to its parent.
"""

from __future__ import annotations

import sys
from pathlib import Path

from trackyard.launch.processes import end_with_parent


def main(arguments: list[str]) -> int:
    """End with the parent, whatever happens to it; else train this rank's share."""
    end_with_parent()
    from trackyard.recipes.datacomp.parameters import load_datacomp
    from trackyard.recipes.datacomp.study import Study
    from trackyard.recipes.datacomp.training.job import WorldJob
    from trackyard.recipes.datacomp.training.jobs import world_job
    from trackyard.recipes.running.one_rank import run_rank

    parameter_file, label, attempt, run_id = arguments

    def prepared() -> WorldJob:
        study = Study(root=Path.cwd(), parameters=load_datacomp(Path(parameter_file)))
        return world_job(study, study.parameters.trained_cells[label])

    return run_rank(prepared, int(attempt), run_id)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
