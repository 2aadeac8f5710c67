"""`python -m trackyard`: the command line for launchers that start modules (torchrun -m, deepspeed --module)."""

from __future__ import annotations

import sys

from trackyard.launch.launched import without_local_rank

# Processes that decode for this one import its main module again; they are no command line.
if __name__ == "__main__":
    from trackyard.cli.main import main

    sys.argv[1:] = without_local_rank(sys.argv[1:])
    main()
