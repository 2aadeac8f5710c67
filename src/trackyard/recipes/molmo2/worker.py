"""`python -m trackyard.recipes.molmo2.worker`: the program of one rank, with the arguments of `run_rank`.

It imports nothing of weight by itself: every process that decodes for this rank imports its main module again.
"""

from __future__ import annotations

import sys

from trackyard.launch.processes import end_with_parent


def main(arguments: list[str]) -> int:
    """End with the parent, whatever happens to it; else train this rank's share."""
    end_with_parent()
    from trackyard.recipes.molmo2.one_rank import run_rank

    return run_rank(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
