"""The training part of a stage, on one rank: build, take the steps, write the final weights.

Source: design sections 1, 4 and 6; molmo2 spec section 13.
"""

from __future__ import annotations

import contextlib
import gc
import logging
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch
from safetensors import SafetensorError

from trackyard.catalog.entries import Entry
from trackyard.durable import atomic_directory
from trackyard.errors import CheckpointError, StoppedEarly, TrackyardError
from trackyard.feed.steps import PlanFeed
from trackyard.models.attention import mask_kind, use_masks
from trackyard.models.context import ContextGroup
from trackyard.models.molmo2 import component_of
from trackyard.publish.export import write_export
from trackyard.recipes.molmo2.fitting import OutOfDeviceMemory, fit_smaller, fitted
from trackyard.recipes.molmo2.forward import forward
from trackyard.recipes.molmo2.prepare import Prepared
from trackyard.recipes.molmo2.share import Share
from trackyard.record.rundir import Attempt, RunDirectory
from trackyard.record.spool import Spool
from trackyard.train.engine import Engine
from trackyard.train.guard import Guard
from trackyard.train.loop import Course, Loop, WentBack
from trackyard.train.parameters import EngineParameters
from trackyard.train.ranks import Ranks, join_ranks, rank

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
    progress: Callable[[int], None],
    say: Callable[[str], None],
) -> None:
    """Train from the newest valid checkpoint to the last step, then write the final weights.

    Raises StoppedEarly after a complete save when `should_stop` turns true on any rank.
    """
    given = prepared.parameters.engine_of(prepared.stage)
    ranks = join_ranks(given.threads, context=given.context_degree)
    engine: Engine | None = None
    with _spool(directory, attempt) as spool:
        while engine is None:
            settings = fitted(given, directory.path)
            try:
                engine = _train(
                    prepared,
                    directory,
                    catalogue,
                    ranks,
                    settings,
                    spool,
                    should_stop=should_stop,
                    progress=progress,
                    say=say,
                )
            except WentBack:
                # Built anew from the checkpoint that the rollback names, once the old engine is gone.
                gc.collect()
            except torch.OutOfMemoryError as error:
                fit_smaller(given, settings, directory.path, error)
                _let_go(ranks, error)
    weights = engine.weights()
    if ranks.rank == 0 and not (directory.path / FINAL).exists():
        model = prepared.start.build().float()
        model.load_state_dict(weights)
        _write_final(prepared, directory, model)
    ranks.barrier()


def _train(
    prepared: Prepared,
    directory: RunDirectory,
    catalogue: Mapping[str, Entry],
    ranks: Ranks,
    settings: EngineParameters,
    spool: Spool | None,
    *,
    should_stop: Callable[[], bool],
    progress: Callable[[int], None],
    say: Callable[[str], None],
) -> Engine:
    """Build an engine and take it to the last step."""
    parameters, plan = prepared.parameters, prepared.plan
    stage = parameters.stage(prepared.stage)
    context = ContextGroup.of(ranks.context_group)
    torch.manual_seed(parameters.seed)
    guard = Guard(parameters.guard, device=_device())
    engine = Engine(
        prepared.start.build(),
        component_of=component_of,
        optimiser=stage.optimiser,
        engine=settings,
        packs_per_step=plan.packs_per_step,
        steps=plan.steps,
        forward=partial(forward, context=context, loss_chunk=settings.loss_chunk),
        ranks=ranks,
        guard=guard,
    )
    use_masks(engine.module, mask_kind(engine.device))
    feed = PlanFeed(
        plan,
        prepared.datasets,
        prepared.feed,
        prepared.start.tokens,
        rank=ranks.data_rank,
        world=ranks.data_ranks,
        micro_batch=settings.micro_batch,
    )
    share = Share(prepared, feed, engine, catalogue, context, spool, workers=settings.workers)
    course = Course(
        directory=directory.path,
        identity={"run_id": prepared.spec.run_id, "plan": plan.fingerprint},
        steps=plan.steps,
        save_every=stage.save_every,
        engine=settings,
        guard=parameters.guard,
        again=f"dvc repro {prepared.stage}",
    )
    Loop(engine, guard, share, course).run(should_stop=should_stop, progress=progress, say=say)
    return engine


def _let_go(ranks: Ranks, error: torch.OutOfMemoryError) -> None:
    """Free what the failed step held. With other ranks, which wait in a collective, all have to start again."""
    if ranks.world > 1:
        raise OutOfDeviceMemory(
            what=f"rank {ranks.rank} of {ranks.world} ran out of device memory",
            why="the other ranks wait for it in a collective, so all of them have to start again",
            fix="run the same command again: it goes on with the smaller settings that are in fit.json of the run",
        ) from error
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _device() -> torch.device:
    """Where DeepSpeed puts the model of this rank."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def _write_final(prepared: Prepared, directory: RunDirectory, model: torch.nn.Module) -> None:
    try:
        with atomic_directory(directory.path / FINAL) as partial_directory:
            write_export(partial_directory, model, prepared.start.tokens, prepared.feed.geometry, prepared.feed.video)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            what=f"the final weights {directory.path / FINAL} could not be written: {error}",
            why="the stage has no result yet; the checkpoint of the last step is untouched",
            fix=f"free space or restore write access (`df -h {directory.path}`), then run the same command again",
        ) from error


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
