"""Saving without standing still: training pays for one copy into host memory, a thread of the host does the rest.

At most one checkpoint is being written; the next one waits for it. What goes wrong in the background is raised at the
next call, by all ranks alike. Source: performance section 9.2, reliability sections 1 and 5.3 (F1 to F4, F30).
"""

from __future__ import annotations

import contextlib
import math
import random
import shutil
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillWriting
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from trackyard.crash import crash_point
from trackyard.errors import CheckpointError, TrackyardError
from trackyard.train.agreement import agree
from trackyard.train.checkpoint import (
    COMPLETE,
    Manifest,
    StoredFile,
    directory_name,
    partial_directory,
    remove_unfinished,
    seal,
    step_of,
    verify_checkpoint,
)
from trackyard.train.host_state import random_state, split_host_state
from trackyard.train.parts import collect_parts, leave_failure, leave_part
from trackyard.train.ranks import Ranks
from trackyard.train.resume import STEPS, host_file, state_file
from trackyard.train.rotation import delete_newer, rotate
from trackyard.train.state import KINDS, TrainingState
from trackyard.train.tensor_file import Layout, tensor_file_of, write_tensor_file

DEADLINE_S = 480.0
"""How long one checkpoint may take; less than collectives wait, so that the error of the disk is the one seen."""


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One checkpoint on its way to the disk."""

    step: int
    score: float | None
    document: dict[str, Any]
    tensors: dict[str, torch.Tensor]
    copied: Callable[[], None]
    """Waits until the device has filled the host buffers."""
    partial: Path
    deadline: float


class Saver:
    """Writes the checkpoints of a run; every rank has one and makes the same calls.

    root: where they lie, seen by all ranks. never: the checkpoint that was resumed from; rotation spares it. keep: how
    many of the newest stay, besides the best.
    """

    def __init__(
        self,
        root: Path,
        *,
        ranks: Ranks,
        state: TrainingState,
        identity: Mapping[str, str],
        keep: int,
        never: Path | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        """Allocates the host buffers, once."""
        self._root, self._ranks, self._state = root, ranks, state
        self._identity, self._keep, self._never, self._deadline_s = dict(identity), keep, never, deadline_s
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._in_flight: Future[Path] | None = None
        self._newest = never
        self._calls = 0
        on_device = any(tensor.is_cuda for piece in state.written for tensor in piece.tensors.values())
        self._layout, self._body, self._copies = _buffers(state, pinned=on_device)
        self._on_device = on_device
        # Shared by the ranks of this attempt and by no earlier one; small enough for a sum of doubles to be exact.
        self._token = f"{int(ranks.total([random.SystemRandom().getrandbits(31)])[0]):x}"

    def save(self, step: int, host_state: dict[str, Any], score: float | None = None) -> None:
        """Take the state after `step` updates and write it in the background; all ranks call this.

        host_state: JSON and tensors, equal on all ranks; rank 0's is kept. score: lower is better. Waits for the
        checkpoint before, if that is still being written, and raises what went wrong with it. A step that is saved
        already is not written again: what it resumed from stays whole.
        """
        if score is not None and not math.isfinite(score):
            raise CheckpointError(
                what=f"the score of step {step} is {score}",
                why="no checkpoint is better or worse than that, so the best one could not be kept",
                fix="pass None for a state that was not scored",
            )
        self._settle()
        if self._newest is not None and step_of(self._newest) == step:
            return
        self._calls += 1
        partial = partial_directory(self._root, step, f"{self._token}.{self._calls}")
        document, tensors = split_host_state(host_state)
        agree(self._ranks, self._begin(partial))
        for buffer, live in self._copies:
            buffer.copy_(live, non_blocking=True)
        job = _Job(
            step=step,
            score=score,
            document=document,
            tensors=random_state() | (tensors if self._ranks.rank == 0 else {}),
            copied=_recorded(self._on_device),
            partial=partial,
            deadline=time.monotonic() + self._deadline_s,
        )
        self._in_flight = self._writer.submit(self._write, job)

    def finish(self) -> Path | None:
        """Wait until the last checkpoint is on the disk and verified; its path. Raises what went wrong with it."""
        self._settle()
        return self._newest

    def _settle(self) -> None:
        """The end of the checkpoint in flight, in time, and its error on all ranks."""
        future, self._in_flight = self._in_flight, None
        error: BaseException | None = None
        if future is not None:
            try:
                error = future.exception(timeout=self._deadline_s)
            except StillWriting as late:
                self._in_flight = future
                error = late
        agree(self._ranks, None if error is None else self._explained(error))
        if future is not None:
            self._newest = future.result()

    def _explained(self, error: BaseException, what: str = "the last checkpoint") -> TrackyardError:
        if isinstance(error, TrackyardError):
            return error
        if isinstance(error, StillWriting) and not str(error):
            error = TimeoutError(f"it is still being written after {self._deadline_s:.0f} s")
        explained = CheckpointError(
            what=f"{what} could not be written: {str(error) or type(error).__name__}",
            why="the run cannot be continued from a state that is not on disk; earlier checkpoints are untouched",
            fix=f"free space or restore write access (`df -h {self._root}`), then run the same command again: "
            "it resumes",
        )
        explained.__cause__ = error
        return explained

    def _begin(self, partial: Path) -> TrackyardError | None:
        """On rank 0, before any rank writes: the directory, without what killed or failed attempts left beside it."""
        if self._ranks.rank == 0:
            try:
                self._root.mkdir(parents=True, exist_ok=True)
                remove_unfinished(self._root)
                partial.mkdir()
            except OSError as error:
                return self._explained(error, f"checkpoint {partial}")
        return None

    def _write(self, job: _Job) -> Path:
        """In the background: this rank's files, and on rank 0 everything that makes them a checkpoint."""
        final = self._root / directory_name(job.step)
        rank = self._ranks.rank
        try:
            files = self._files(job)
            crash_point("after-data")
            if rank == 0:
                others = range(1, self._ranks.world)
                files += collect_parts(job.partial, others, deadline=job.deadline)
                seal(job.partial, final, self._manifest(job, files))
            else:
                leave_part(job.partial, rank, files)
        except OSError as error:
            if rank == 0:
                shutil.rmtree(job.partial, ignore_errors=True)
                if self._ranks.world > 1:
                    # A rank that has not begun yet waits for it. The next save removes it.
                    with contextlib.suppress(OSError):
                        job.partial.mkdir()
                if not (final / COMPLETE).is_file():
                    shutil.rmtree(final, ignore_errors=True)
            else:
                leave_failure(job.partial, rank, str(error))
            raise self._explained(error, f"checkpoint {final}") from error
        if rank == 0:
            self._retire(final)
        return final

    def _files(self, job: _Job) -> list[StoredFile]:
        rank = self._ranks.rank
        self._wait_for(job)
        job.copied()
        host = tensor_file_of(job.partial / host_file(rank), job.tensors)
        state = write_tensor_file(job.partial / state_file(rank), self._layout, self._body)
        fragments = {piece.name: (piece.start, piece.numel, piece.group) for piece in self._state.written}
        return [
            StoredFile(path=host_file(rank), bytes=host.size, blake3=host.blake3),
            StoredFile(path=state_file(rank), bytes=state.size, blake3=state.blake3, fragments=fragments),
        ]

    def _wait_for(self, job: _Job) -> None:
        """Until the directory that rank 0 has made is to be seen here: shared file systems may show it late."""
        while not job.partial.is_dir():
            if time.monotonic() > job.deadline:
                raise TimeoutError(f"{job.partial} is not to be seen on rank {self._ranks.rank}")
            time.sleep(0.02)

    def _manifest(self, job: _Job, files: list[StoredFile]) -> Manifest:
        return Manifest(
            step=job.step,
            identity=self._identity,
            score=job.score,
            host_state=job.document,
            tensors=self._state.shapes,
            files=tuple(files),
        )

    def _retire(self, final: Path) -> None:
        """Older checkpoints go, now that the new one is proved to be readable as it was written."""
        crash_point("between-complete-and-rotation")
        verify_checkpoint(final, self._identity)
        try:
            delete_newer(self._root, final)
            rotate(self._root, keep=self._keep, never=self._never)
        except OSError as error:
            raise CheckpointError(
                what=f"{final} is complete, but older checkpoints cannot be deleted: {error}",
                why="they would fill the disk, and the checkpoint that meets it full would be lost",
                fix=f"restore write access to {self._root}, then run the same command again: it resumes",
            ) from error


def _buffers(
    state: TrainingState, *, pinned: bool
) -> tuple[Layout, torch.Tensor, list[tuple[torch.Tensor, torch.Tensor]]]:
    """The body of this rank's file, and what is copied into it: (place in the body, live tensor)."""
    live: dict[str, torch.Tensor] = {}
    for kind in KINDS:
        for piece in state.written:
            # A whole parameter keeps its shape, so that any reader of the format finds it as it is.
            whole = piece.numel == torch.Size(piece.shape).numel()
            live[f"{kind}/{piece.name}"] = piece.tensors[kind].view(piece.shape if whole else (piece.numel,))
    shapes = {name: tuple(tensor.shape) for name, tensor in live.items()} | {STEPS: (len(state.steps),)}
    layout = Layout.of((name, torch.float32, shape) for name, shape in shapes.items())
    # Zeros, not empty: the pages are there before the first save has to wait for them.
    body = layout.body(pinned=pinned)
    views = layout.views(body)
    steps = [(views[STEPS][number], step) for number, step in enumerate(state.steps)]
    return layout, body, [*((views[name], tensor) for name, tensor in live.items()), *steps]


def _recorded(on_device: bool) -> Callable[[], None]:
    """A call that waits for the copies so far; the training thread itself does not wait for the device."""
    if not on_device:
        return lambda: None
    event = torch.cuda.Event()
    event.record()
    return event.synchronize
