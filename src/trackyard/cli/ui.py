"""`trackyard ui`: the MLflow pages of all runs, on this machine only."""

from __future__ import annotations

import os
from typing import Annotated

import typer


def ui(port: Annotated[int, typer.Option(help="port on 127.0.0.1")] = 5000) -> None:
    """Deliver what runs have spooled, then serve the MLflow UI on 127.0.0.1 until interrupted."""
    from trackyard.cli.record import deliver
    from trackyard.cli.root import repository_root
    from trackyard.record.tracking import tracking_uri
    from trackyard.record.ui import UI_ENVIRONMENT, ui_argv

    root = repository_root()
    uri = tracking_uri(root)
    argv = ui_argv(uri, port)
    deliver(root)
    print(f"serving   http://127.0.0.1:{port}  (Ctrl-C ends it)", flush=True)
    os.execvpe(argv[0], argv, os.environ | UI_ENVIRONMENT)
