"""An estimate as a JSON document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from trackyard.estimate.calibration import Error
from trackyard.estimate.fit import Fitting
from trackyard.estimate.forecast import Forecast

SCHEMA = "trackyard-estimate/1"


def as_document(found: Forecast, change: Fitting | None, errors: Sequence[Error]) -> dict[str, Any]:
    """The body of a document; sizes in bytes, times in seconds or hours as named."""
    work, machine, step = found.work, found.machine, found.step
    return {
        "track": work.track,
        "stage": work.stage,
        "preset": work.preset,
        "notes": list(work.notes),
        "lengths": work.lengths,
        "site": machine.site.name,
        "partition": machine.partition_name,
        "device": machine.device.name,
        "ranks": work.world,
        "nodes": found.nodes,
        "engine": work.engine.model_dump(mode="json"),
        "parameters": work.parameters,
        "trained": work.trained,
        "memory": [asdict(item) for item in found.memory],
        "step": asdict(step) | {"seconds": step.seconds, "limited_by": step.limited_by},
        "calibration": found.calibration.source,
        "errors": [asdict(error) for error in errors],
        "steps": work.steps,
        "hours": found.hours,
        "gpu_hours": found.gpu_hours,
        "service_units": found.service_units,
        "credits": machine.partition.credits,
        "jobs": found.jobs,
        "checkpoints": {
            "each_bytes": found.checkpoint_bytes,
            "written": found.checkpoints,
            "on_disk_bytes": found.kept_bytes,
        },
        "checks": [asdict(check) for check in found.checks],
        "fits": found.fits,
        "smallest_change": None if change is None else list(change.changes),
    }
