"""The training part of a stage, on one rank: resume, step, record, save, stop when asked.

Source: design sections 1, 4 and 6; molmo2 spec section 13.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from safetensors import SafetensorError

from trackyard.catalog.entries import Entry
from trackyard.durable import atomic_directory
from trackyard.errors import CheckpointError, StoppedEarly, TrackyardError
from trackyard.feed.bad_rows import BadRowBudget
from trackyard.feed.loader import read_ahead
from trackyard.feed.steps import PlanFeed, StepFeed
from trackyard.models.attention import mask_kind, use_masks
from trackyard.models.molmo2 import component_of
from trackyard.plan.plan import require_same_plan
from trackyard.publish.export import write_export
from trackyard.recipes.molmo2.forward import forward
from trackyard.recipes.molmo2.prepare import Prepared
from trackyard.record.rundir import Attempt, RunDirectory
from trackyard.record.spool import Spool
from trackyard.train.checkpoint import newest_valid, rotate, write_checkpoint
from trackyard.train.engine import Engine, StepResult, join_ranks, rank, world_size

FINAL = "final"
"""Folder of the run directory that holds the trained model; it exists only when training is over."""

log = logging.getLogger(__name__)


def train(
    prepared: Prepared,
    directory: RunDirectory,
    attempt: Attempt,
    catalogue: Mapping[str, Entry],
    *,
    should_stop: Callable[[], bool],
    progress: Callable[[int, StepResult], None],
) -> None:
    """Train from the newest valid checkpoint to the last step, then write the final weights.

    Raises StoppedEarly after a complete save when `should_stop` turns true on any rank.
    """
    parameters, plan = prepared.parameters, prepared.plan
    stage = parameters.stage(prepared.stage)
    join_ranks(parameters.engine.threads)
    torch.manual_seed(parameters.seed)
    engine = Engine(
        prepared.start.build(),
        component_of=component_of,
        optimiser=stage.optimiser,
        engine=parameters.engine,
        packs_per_step=plan.packs_per_step,
        steps=plan.steps,
        forward=forward,
    )
    use_masks(engine.module, mask_kind(engine.device))
    identity = {"run_id": prepared.spec.run_id, "plan": plan.fingerprint}
    start, resumed = _resume(engine, directory, identity)
    feed = PlanFeed(
        plan,
        prepared.datasets,
        prepared.feed,
        prepared.start.tokens,
        rank=rank(),
        world=world_size(),
        micro_batch=parameters.engine.micro_batch,
    )
    groups = {name: catalogue[name].group if name in catalogue else name for name in feed.names}
    budget = BadRowBudget(parameters.max_bad_rows, parameters.on_bad_row)

    def save(step: int) -> None:
        if spool is not None:
            spool.flush()
        write_checkpoint(
            directory.checkpoints,
            step=step,
            identity=identity,
            save=lambda target: engine.save(target, {"step": step, "plan": plan.fingerprint}),
            barrier=dist.barrier,
            is_writer=rank() == 0,
        )
        if rank() == 0:
            rotate(directory.checkpoints, keep=parameters.engine.keep_checkpoints, never=resumed)

    ahead = read_ahead(feed, start, plan.steps, workers=parameters.engine.workers)
    with _spool(directory, attempt) as spool, ahead as steps:
        for step_feed in steps:
            for row in step_feed.broken:
                log.warning("step %d: without loss, since it does not decode: %s", step_feed.step + 1, row)
            budget.add(step_feed.broken, rows=len(step_feed.rows))
            result = engine.step(step_feed.step, step_feed.batches, step_feed.weight)
            done = step_feed.step + 1
            by_group = engine.sum_by_name(_losses_by_group(step_feed, result, feed.names, groups))
            broken, _ = engine.sum_by_name({"rows": (len(step_feed.broken), len(step_feed.rows))})["rows"]
            if spool is not None:
                spool.metrics(_metrics(prepared, step_feed, result, by_group, broken), done)
            progress(done, result)
            stop = engine.any_rank(should_stop()) and done < plan.steps
            if stop or done % stage.save_every == 0 or done == plan.steps:
                save(done)
            if stop:
                raise StoppedEarly(
                    what=f"stopped by a signal after step {done} of {plan.steps}",
                    why=f"a complete checkpoint of step {done} is in {directory.checkpoints}",
                    fix=f"dvc repro {prepared.stage}",
                )
    weights = engine.weights()
    if rank() == 0 and not (directory.path / FINAL).exists():
        model = engine.module.float()
        model.load_state_dict(weights)
        _write_final(prepared, directory, model)
    dist.barrier()


def _write_final(prepared: Prepared, directory: RunDirectory, model: torch.nn.Module) -> None:
    try:
        with atomic_directory(directory.path / FINAL) as partial:
            write_export(partial, model, prepared.start.tokens, prepared.feed.geometry, prepared.feed.video)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            what=f"the final weights {directory.path / FINAL} could not be written: {error}",
            why="the stage has no result yet; the checkpoint of the last step is untouched",
            fix=f"free space or restore write access (`df -h {directory.path}`), then run the same command again",
        ) from error


def _resume(engine: Engine, directory: RunDirectory, identity: dict[str, str]) -> tuple[int, Path | None]:
    """Load the newest checkpoint whose every byte is proved; returns the steps already done."""
    path, rejected = newest_valid(directory.checkpoints, identity)
    for bad in rejected:
        log.warning("checkpoint %s is not used: %s", bad.path, bad.problem)
    if path is None:
        return 0, None
    state = engine.load(path)
    require_same_plan(identity["plan"], state["plan"], where=str(path))
    log.info("resumed from %s", path)
    return int(state["step"]), path


@contextlib.contextmanager
def _spool(directory: RunDirectory, attempt: Attempt) -> Iterator[Spool | None]:
    """The spool on rank 0, which also says how the attempt ended; the other ranks record nothing."""
    if rank() != 0:
        yield None
        return
    with Spool(directory.spool, attempt) as spool:
        try:
            yield spool
        except TrackyardError as error:
            spool.status("stopped" if isinstance(error, StoppedEarly) else "failed")
            raise


def _losses_by_group(
    feed: StepFeed, result: StepResult, names: list[str], groups: Mapping[str, str]
) -> dict[str, tuple[float, float]]:
    """(sum of cross-entropy, answer tokens) per dataset group of this rank's share."""
    datasets = np.concatenate(feed.groups)
    losses = torch.cat([loss.cross_entropy for loss in result.losses]).double().cpu().numpy()
    sums = np.bincount(datasets, weights=losses, minlength=len(names))
    counts = np.bincount(datasets, minlength=len(names))
    totals = dict.fromkeys(sorted(set(groups.values())), (0.0, 0.0))
    for number, name in enumerate(names):
        total, count = totals[groups[name]]
        totals[groups[name]] = (total + float(sums[number]), count + float(counts[number]))
    return totals


def _metrics(
    prepared: Prepared,
    feed: StepFeed,
    result: StepResult,
    by_group: Mapping[str, tuple[float, float]],
    broken: float,
) -> dict[str, float]:
    """Names of the one metric schema of all tracks."""
    plan = prepared.plan
    tokens = int(plan.step_table[feed.step][0])
    return {
        "train/loss": result.loss,
        "train/gradient_norm": result.gradient_norm,
        "train/tokens": float(tokens),
        "train/padding": 1 - tokens / (plan.packs_per_step * plan.budget.tokens),
        "train/broken_rows": broken,
        **{f"train/learning_rate/{name}": rate for name, rate in result.rates.items()},
        **{f"train/loss/{group}": total / count for group, (total, count) in by_group.items() if count},
    }
