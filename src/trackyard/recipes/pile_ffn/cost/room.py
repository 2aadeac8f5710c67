"""Whether a training has room to run where it is started: disk for its checkpoints and export, time between two saves.

A run that does not fit is refused before it starts, with the smallest change that would let it. Source: pile-ffn spec
section 13.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from trackyard.acquire.places import Room, room
from trackyard.errors import ConfigError, EnvironmentLacking
from trackyard.estimate.calibration import FILE, calibrate, cases_of, read_measurements
from trackyard.estimate.devices import DEVICES, device_of
from trackyard.estimate.duration import step_time
from trackyard.launch.signals import deadline
from trackyard.recipes.pile_ffn.cost.arithmetic import export_bytes, state_bytes
from trackyard.recipes.pile_ffn.cost.sizes import study_workload
from trackyard.recipes.pile_ffn.cost.storing import CHECKPOINT_FILES, EXPORT_FILES
from trackyard.recipes.pile_ffn.study import Study
from trackyard.recipes.stages import rebuild

SAME_MEMORY = 0.1
"""A GPU with as much more or less memory is another model of the same name."""
SETTLED_STEPS = 50
"""After so many a measured step takes the place of the expected one."""


def require_room(
    study: Study,
    parameters: int,
    *,
    run: Path | None = None,
    environment: Mapping[str, str] | None = None,
    device: str | None = None,
    measure: Callable[[Path], Room] = room,
) -> None:
    """Refuse a training that disk or wall-clock limit would end: EnvironmentLacking and ConfigError name the change.

    parameters: of the model. run: the run directory, whose checkpoints take no room twice when it goes on. device: that
    trains (`visible_device`). environment: of the job, with the end that its scheduler has set. Without a known device
    and size no step's time is expected, and none is asked for until one was measured (`require_time`).
    """
    _require_disk(study, parameters, held=0 if run is None else _bytes_below(run / "checkpoints"), measure=measure)
    until = deadline(
        study.parameters.engine.max_hours,
        os.environ if environment is None else environment,
        wall=time.time(),
        monotonic=time.monotonic(),
    )
    model = study.parameters.model
    if until is not None and device is not None and (model.made or model.size):
        require_time(study, step_s=expected_step_s(study, device), left_s=until - time.monotonic())


def visible_device() -> str | None:
    """The name in estimate.devices of what this process trains on; None for a GPU that is not among them."""
    import torch

    if not torch.cuda.is_available():
        return "cpu"
    found = torch.cuda.get_device_properties(0)
    return next(
        (
            name
            for name, device in DEVICES.items()
            if device.memory_bytes is not None
            and device.marketed_as in found.name
            and abs(found.total_memory / device.memory_bytes - 1) < SAME_MEMORY
        ),
        None,
    )


def expected_step_s(study: Study, device: str) -> float:
    """Seconds of a step on such a device, before one was measured."""
    known = device_of(device)
    work = study_workload(study.parameters, known)
    cases = cases_of(read_measurements(study.root / FILE), known, lambda one: rebuild(one, study.root, known))
    rate = calibrate(work, known, cases).rate
    return step_time(work, known, rate=rate, gpus_per_node=work.world, network=None).seconds


def require_time(study: Study, *, step_s: float, left_s: float) -> None:
    """ConfigError unless a checkpoint comes before the job ends. step_s: expected, or measured after SETTLED_STEPS."""
    training = study.parameters.training
    between = min(training.save_every, training.steps)
    if between * step_s <= left_s:
        return
    fewer = int(left_s / step_s)
    raise ConfigError(
        what=f"{between} steps of {step_s:,.2f} s until the first checkpoint, {left_s / 3600:,.2f} h of this job left",
        why="a job that is cut off before it has saved does the same work again, for ever",
        fix=f"set pile_ffn.training.save_every to {fewer} or less in params.yaml"
        if fewer
        else f"ask for jobs of at least {2 * step_s / 3600:,.2f} h, or for more GPUs: pile_ffn.processes",
    )


def _require_disk(study: Study, parameters: int, *, held: int, measure: Callable[[Path], Room]) -> None:
    """Room for the checkpoints below runs/ and for the export below artifacts/, which may be on one file system."""
    engine = study.parameters.engine
    state, (bf16, fp32) = state_bytes(parameters), export_bytes(parameters)

    def needed(keep: int) -> dict[int, int]:
        """Bytes by file system."""
        found = {runs.device: max((keep + 1) * state + fp32 - held, 0)}
        found[artifacts.device] = found.get(artifacts.device, 0) + bf16 + fp32
        return found

    runs, artifacts = measure(study.runs), measure(study.artifacts)
    free = {runs.device: runs.free_bytes, artifacts.device: artifacts.free_bytes}
    files = (engine.keep_checkpoints + 1) * CHECKPOINT_FILES + EXPORT_FILES
    short_of_files = [place.free_inodes for place in (runs, artifacts) if _fewer(place.free_inodes, files)]
    if short_of_files:
        raise EnvironmentLacking(
            what=f"{short_of_files[0]:,} files can still be made below {study.runs} and {study.artifacts}, "
            f"{files} are needed",
            why="a checkpoint that cannot be written ends the run",
            fix="remove files there, or ask the site for a higher limit on files",
        )
    if _fits(needed(engine.keep_checkpoints), free):
        return
    fewer = next((keep for keep in range(engine.keep_checkpoints - 1, 0, -1) if _fits(needed(keep), free)), None)
    lacking = {place: amount - free[place] for place, amount in needed(1).items() if amount > free[place]}
    where = study.runs if runs.device in lacking or not lacking else study.artifacts
    raise EnvironmentLacking(
        what=f"{engine.keep_checkpoints + 1} checkpoints of {state:,} bytes and an export of {bf16 + fp32:,} do not "
        f"fit: {runs.free_bytes:,} bytes are free below {study.runs}, {artifacts.free_bytes:,} below {study.artifacts}",
        why="a full disk ends the run at a checkpoint",
        fix=f"set pile_ffn.engine.keep_checkpoints to {fewer} in params.yaml"
        if fewer
        else f"free {max(lacking.values()):,} bytes below {where} and set pile_ffn.engine.keep_checkpoints to 1",
    )


def _fits(needed: Mapping[int, int], free: Mapping[int, int]) -> bool:
    return all(amount <= free[place] for place, amount in needed.items())


def _fewer(free: int | None, needed: int) -> bool:
    return free is not None and free < needed


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0
