"""Whether runs can be delivered to MLflow."""

from __future__ import annotations

import os

from trackyard.errors import EnvironmentLacking
from trackyard.launch.doctor.asked import Asked
from trackyard.launch.doctor.bounded import within
from trackyard.launch.preflight import Seen, Warned
from trackyard.record.tracking.server import URI_VARIABLE, Unreachable, database, place, require_reachable, tracking_uri

PROBE_S = 4.0


def tracking_row(asked: Asked) -> Seen:
    """A server answers; a database can be opened, or be made where there is none yet."""
    uri = tracking_uri(asked.root, asked.environment)
    file = database(uri)
    if file is not None and not file.exists():
        parent = next(one for one in file.parents if one.exists())
        if not os.access(parent, os.W_OK):
            raise EnvironmentLacking(
                what=f"{file} is not there, and {parent} is not writable",
                why="runs would stay in their spools",
                fix=f"make {parent} writable, or export {URI_VARIABLE}=http://<server>:<port>",
            )
        return Seen(detail=f"{file} will be made by the first delivery", examined=1)
    fix = f"start the server (make ui, servers/mlflow-group.sh), or correct {URI_VARIABLE}; then trackyard record sync"
    try:
        within(
            PROBE_S,
            lambda: require_reachable(uri, PROBE_S / 2),
            what=place(uri),
            why="runs stay in their spools",
            fix=fix,
        )
    except (Unreachable, EnvironmentLacking) as error:
        if file is not None and not isinstance(error, Unreachable):
            raise
        # No run is stopped by it (reliability P5).
        raise Warned(what=error.what, why=error.why, fix=fix) from error
    return Seen(detail=f"{place(uri)} answers", examined=1)
