"""`python -m trackyard.recipes.pile_ffn.arms.worker PARAMETERS CELL ATTEMPT RUN`: the program of one rank of several.

It imports nothing of weight by itself, until the process is tied to its parent.
"""

from __future__ import annotations

import sys
from pathlib import Path

from trackyard.launch.processes import end_with_parent


def main(arguments: list[str]) -> int:
    """End with the parent, whatever happens to it; else train this rank's share."""
    end_with_parent()
    from trackyard.recipes.pile_ffn.arms.job import WindowJob
    from trackyard.recipes.pile_ffn.arms.jobs import named_job
    from trackyard.recipes.pile_ffn.parameters import load_pile_ffn
    from trackyard.recipes.pile_ffn.study import Study
    from trackyard.recipes.running.one_rank import run_rank

    parameter_file, name, attempt, run_id = arguments

    def prepared() -> WindowJob:
        return named_job(Study(root=Path.cwd(), parameters=load_pile_ffn(Path(parameter_file))), name)

    return run_rank(prepared, int(attempt), run_id)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
