"""The steps of a run, for every track: resume, step, judge, record, save, go back, stop when asked.

The host runs ahead of the device and waits for it at log points only; what a step told is read there, for all steps
since the last one at once. Source: design sections 1, 4 and 6, performance spec section 6, reliability spec F12, F20.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from trackyard.errors import StoppedEarly, TrackyardError
from trackyard.schema import write_document
from trackyard.train.agreement import gathered
from trackyard.train.audit import SCHEMA as AUDIT_SCHEMA
from trackyard.train.audit import AuditError, TrainingAudit, audit_inputs
from trackyard.train.checkpoint import complete_checkpoints, delete_checkpoint, step_of
from trackyard.train.engine import Engine, StepResult
from trackyard.train.guard import Guard, Skipped
from trackyard.train.guard_parameters import GuardParameters
from trackyard.train.loss import AnswerLoss
from trackyard.train.metering import Meter, ProgressLines, StepCost, memory_peak
from trackyard.train.parameters import EngineParameters
from trackyard.train.resume import resume
from trackyard.train.rollback import (
    left_behind,
    named_step,
    next_step,
    plan_rollback,
    read_rollbacks,
    write_rollbacks,
)
from trackyard.train.saver import Saver
from trackyard.train.state import TrainingState

CHECKPOINTS = "checkpoints"
AUDIT = "audit.json"
"""In the run directory."""

log = logging.getLogger(__name__)


class StepData(Protocol):
    """One rank's share of a step, as a feed gives it. weight: sum of the loss weights in its packs."""

    @property
    def step(self) -> int: ...
    @property
    def weight(self) -> float: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Logged:
    """A step that has been read from the device. skipped: why its update was left out, if it was."""

    data: Any
    loss: float
    gradient_norm: float
    rates: Mapping[str, float]
    losses: Sequence[AnswerLoss]
    skipped: Skipped | None

    @property
    def done(self) -> int:
        """Steps of the run up to and with this one."""
        return int(self.data.step) + 1


class Track(Protocol):
    """What a track gives the loop. Every rank calls all of it alike."""

    def steps(self, start: int) -> AbstractContextManager[Iterable[StepData]]:
        """This rank's shares of the steps from `start` (0-based) to the last."""
        ...

    def batches(self, data: Any) -> Iterable[Any]:
        """The micro-batches of a step, in order."""
        ...

    def cost(self, data: Any) -> StepCost:
        """What a step was made of, on all ranks together, once it has been taken."""
        ...

    def rows(self, step: int) -> Sequence[str]:
        """Ids of all rows of a step."""
        ...

    def log(self, steps: Sequence[Logged], interval: Mapping[str, float]) -> None:
        """Record the steps since the last log point; `interval` belongs to the last of them."""
        ...

    def probes(self) -> Mapping[str, tuple[Any, Any]]:
        """For each kind of input that this rank's data have: a micro-batch, and the same with that input changed."""
        ...

    def flush(self) -> None:
        """What was recorded is on the disk when this returns: a checkpoint must not be ahead of it."""
        ...


class WentBack(Exception):
    """A rollback was written down; training goes on from another checkpoint, at a later step."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """How a run goes. identity: facts that a checkpoint must share. again: the command that continues the run."""

    directory: Path
    identity: Mapping[str, str]
    steps: int
    save_every: int
    engine: EngineParameters
    guard: GuardParameters
    again: str


class Loop:
    """Takes an engine from the newest sound checkpoint to the last step."""

    def __init__(
        self,
        engine: Engine,
        guard: Guard,
        track: Track,
        course: Course,
        *,
        machine: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        """guard: the judge that the engine was made with. machine: what it does at a log point (`machine_usage`)."""
        self._engine, self._guard, self._track, self._course = engine, guard, track, course
        self._ranks = engine.ranks
        self._rollbacks = read_rollbacks(course.directory)
        self._state = TrainingState.of(engine.deepspeed, dict(engine.named_parameters()))
        self._resumed, self._start = self._resume()
        self._saver = Saver(
            course.directory / CHECKPOINTS,
            ranks=self._ranks,
            state=self._state,
            identity=course.identity,
            keep=course.engine.keep_checkpoints,
            never=self._resumed,
        )
        device = engine.device
        self._meter = Meter(
            steps=course.steps,
            gpus=self._ranks.world,
            device_name=torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
            peak=lambda: memory_peak(device.type),
            machine=machine,
        )
        self._audit: TrainingAudit | None = None
        if not (course.directory / AUDIT).exists():
            self._audit = TrainingAudit(
                self._state, dict(engine.named_parameters()), component_of=engine.component_of, device=device
            )
        self._unread: list[tuple[Any, StepResult]] = []
        self._losses: list[float] = []

    def run(
        self, *, should_stop: Callable[[], bool], progress: Callable[[int], None], say: Callable[[str], None]
    ) -> None:
        """Take the steps that are left. All ranks come to the same end.

        progress: told of every step that was queued (steps done). say: gets a line every few seconds. Raises
        StoppedEarly after a complete save when `should_stop` is true on any rank, WentBack after a rollback, Diverged
        when there were too many, and what saving, recording or the audit finds wrong.
        """
        course = self._course
        lines = ProgressLines(course.steps, say, words=self._meter.words)
        with self._track.steps(self._start) as steps:
            for data in self._waited_for(steps):
                result = self._engine.step(data.step, self._track.batches(data), data.weight / self._ranks.context)
                self._unread.append((data, result))
                self._meter.step(self._track.cost(data))
                done = data.step + 1
                progress(done)
                last = done == course.steps
                stop = self._engine.any_rank(should_stop()) and not last
                due = stop or last or done % course.save_every == 0
                if due or done % course.engine.log_every == 0:
                    lines(done, self._log_point(done, last=last))
                if due:
                    self._save(done)
                if stop:
                    self._saver.finish()
                    raise StoppedEarly(
                        what=f"stopped as asked after step {done} of {course.steps}",
                        why=f"a complete checkpoint of step {done} is in {course.directory / CHECKPOINTS}",
                        fix=course.again,
                    )
        self._saver.finish()

    def _waited_for(self, steps: Iterable[StepData]) -> Iterable[StepData]:
        """The same steps; the time that they take to come is metered."""
        source = iter(steps)
        while True:
            with self._meter.waiting():
                data = next(source, None)
            if data is None:
                return
            yield data

    def _resume(self) -> tuple[Path | None, int]:
        """Load the newest checkpoint that is proved; what a rollback has left behind goes first. (path, next step)."""
        root = self._course.directory / CHECKPOINTS
        if self._ranks.rank == 0:
            for old in complete_checkpoints(root):
                if left_behind(self._rollbacks, _number(old)):
                    delete_checkpoint(old)
        self._ranks.barrier()
        path, host, rejected = resume(root, self._state, self._course.identity, ranks=self._ranks)
        for bad in rejected:
            log.warning("checkpoint %s is not used: %s", bad.path, bad.problem)
        if path is None:
            at = next_step(self._rollbacks, 0)
            self._guard.go_on_at(at)
            return None, at
        log.info("resumed from %s", path)
        self._guard.restore(host["guard"])
        at = next_step(self._rollbacks, int(host["step"]))
        if at != int(host["step"]):
            self._guard.go_on_at(at)
        return path, at

    def _save(self, done: int) -> None:
        self._track.flush()
        # Among the checkpoints of a run the best is that before which it did best.
        score = sum(self._losses) / len(self._losses) if self._losses else None
        self._losses = []
        with self._meter.saving():
            self._saver.save(done, {"guard": self._guard.state()}, score=score)

    def _log_point(self, done: int, *, last: bool) -> dict[str, float]:
        """Wait for the device, once, for everything since the last log point; what a line may say of it."""
        skipped = {one.step: one for one in self._guard.skipped()}
        told = [torch.stack((result.loss.double(), result.gradient_norm.double())) for _, result in self._unread]
        steps = [
            Logged(
                data=data,
                loss=loss,
                gradient_norm=norm,
                rates=result.rates,
                losses=result.losses,
                skipped=skipped.get(data.step),
            )
            for (data, result), (loss, norm) in zip(self._unread, torch.stack(told).tolist(), strict=True)
        ]
        norms = self._unread[-1][1].component_norms
        self._unread = []
        interval = self._meter.metrics(done, None if norms is None else norms.read())
        self._track.log(steps, interval)
        for step in steps:
            if step.skipped is None:
                self._losses.append(step.loss)
                if self._audit is not None:
                    self._audit.applied(step.rates)
            else:
                log.warning(
                    "update left out: %s: %s",
                    named_step(step.skipped.step, self._track.rows(step.skipped.step)),
                    "; ".join(step.skipped.reasons),
                )
        self._finish_audit(last=last)
        self._go_back()
        return interval | ({} if steps[-1].skipped else {"train/loss": steps[-1].loss})

    def _finish_audit(self, *, last: bool) -> None:
        if self._audit is None or (self._audit.waiting and not last):
            return
        report = replace(self._audit.finish(self._ranks.total), inputs=self._audit_inputs())
        self._audit = None
        log.info(
            "audit: %d trained tensors have moved, %d frozen ones have not; %s change the output",
            report.trained,
            report.frozen,
            ", ".join(report.inputs),
        )
        if self._ranks.rank == 0:
            write_document(self._course.directory / AUDIT, AUDIT_SCHEMA, report.to_json())

    def _audit_inputs(self) -> dict[str, float]:
        """Relative change of the output by each kind of input that any rank has."""
        own = self._track.probes()
        kinds = sorted({kind for found in gathered(self._ranks, sorted(own)) for kind in found})
        if not kinds:
            raise AuditError(
                what="the first steps hold no input that could be changed",
                why="whether the model looks at its inputs cannot be told",
                fix="look at what the first packs hold: `trackyard feed view`",
            )
        # All ranks run the model as often, since they may divide its weights.
        some = next(iter(own.values()), None)
        changes: dict[str, float] = {}
        for kind in kinds:
            pair = own.get(kind, None if some is None else (some[0], some[0]))
            if pair is None:
                raise AuditError(
                    what=f"rank {self._ranks.rank} has no batch to look at {kind} with",
                    why="all ranks have to run the model together",
                    fix="use fewer ranks, or packs that hold something",
                )
            changes |= audit_inputs(self._engine.output, pair[0], {kind: pair[1]}, total=self._ranks.total)
        return changes

    def _go_back(self) -> None:
        """After too many left-out updates in a row: write the rollback down, and leave the loop."""
        root = self._course.directory / CHECKPOINTS
        in_a_row = self._guard.in_a_row
        if len(in_a_row) < self._course.guard.rollback_after:
            return
        self._saver.finish()
        found = plan_rollback(
            self._course.guard,
            self._rollbacks,
            in_a_row=in_a_row,
            checkpoints=[_number(path) for path in complete_checkpoints(root)],
            rows_of=self._track.rows,
        )
        if found is None:
            return
        log.warning("going back to the weights of step %d, and on at step %d", found.checkpoint, found.resume_at + 1)
        self._ranks.barrier()  # every rank has read the same checkpoints
        if self._ranks.rank == 0:
            write_rollbacks(self._course.directory, [*self._rollbacks, found])
        self._ranks.barrier()
        raise WentBack


def _number(path: Path) -> int:
    number = step_of(path)
    if number is None:
        raise TrackyardError(
            what=f"{path} is listed as a checkpoint and has no step in its name",
            why="which state it holds is unknown",
            fix=f"move {path} away",
        )
    return number
