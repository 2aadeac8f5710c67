"""`trackyard ui`: the MLflow pages of all runs, on this machine only."""

from __future__ import annotations

import os
from typing import Annotated

import typer


def ui(port: Annotated[int, typer.Option(help="port on 127.0.0.1")] = 5000) -> None:
    """Serve the MLflow UI on 127.0.0.1 until interrupted, and go on delivering what runs spool."""
    from trackyard.cli.following import follow_this_process
    from trackyard.cli.record import LOCK_WAIT_S, deliver
    from trackyard.cli.root import repository_root
    from trackyard.record.tracking.server import LONG, tracking_uri
    from trackyard.record.tracking.ui import UI_ENVIRONMENT, ui_argv

    root = repository_root()
    uri = tracking_uri(root)
    argv = ui_argv(uri, port)
    deliver(root, LONG, lock_wait_s=LOCK_WAIT_S, only_changed=False)
    print(f"serving   http://127.0.0.1:{port}  (Ctrl-C ends it)", flush=True)
    follow_this_process()
    os.execvpe(argv[0], argv, os.environ | UI_ENVIRONMENT)
