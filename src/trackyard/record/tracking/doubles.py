"""Two runs of one name in a tracking store become one: what the later holds goes into the earlier, the later goes.

They come about where a request was given up here and carried out there, and where two machines deliver copies of one
run directory at once. A deleted run of MLflow can be restored (`mlflow runs restore`), so this destroys nothing.
"""

from __future__ import annotations

from trackyard.record.tracking.server import Point, StoredRun
from trackyard.record.tracking.store import CREATED_TAG, PARENT_TAG, RunGone, TrackingStore


def take_up(store: TrackingStore, kept: StoredRun, double: StoredRun) -> None:
    """Copy points, parameters, tags and inputs that `kept` lacks, hang the children of `double` under it, delete it.

    Artifacts are not copied: whoever delivered them finds that the run is gone, and delivers everything again.
    """
    client = store.client
    ours, theirs = store.ask(client.get_run, kept.id), store.ask(client.get_run, double.id)
    for key in theirs.data.metrics:
        steps = {point.step for point in store.ask(client.get_metric_history, kept.id, key)}
        history = store.ask(client.get_metric_history, double.id, key)
        store.points(
            kept,
            [
                Point(key=point.key, value=point.value, step=point.step, timestamp=point.timestamp)
                for point in history
                if point.step not in steps
            ],
        )
    store.describe(
        kept,
        params={key: value for key, value in theirs.data.params.items() if key not in ours.data.params},
        tags={
            key: value for key, value in theirs.data.tags.items() if key not in ours.data.tags and key != CREATED_TAG
        },
        datasets=[],
    )
    inputs = theirs.inputs.dataset_inputs if theirs.inputs else []
    if inputs:
        store.ask(client.log_inputs, kept.id, datasets=inputs, about=kept)
    for child in store.find(kept.experiment, {PARENT_TAG: double.id}):
        store.describe(child, params={}, tags={PARENT_TAG: kept.id}, datasets=[])
    try:
        store.ask(client.delete_run, double.id, about=double)
    except RunGone:
        # Another sync, which saw both as well, was faster: that is what was wanted.
        return
