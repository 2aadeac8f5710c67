"""The loop on a small model: every step recorded once, stops and restarts that change nothing, going back, audits."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from trackyard.errors import StoppedEarly
from trackyard.schema import read_document
from trackyard.train.audit import AuditError
from trackyard.train.checkpoint import complete_checkpoints, step_of
from trackyard.train.engine import Engine
from trackyard.train.guard import Guard
from trackyard.train.guard_parameters import GuardParameters
from trackyard.train.loop import AUDIT, CHECKPOINTS, Course, Logged, Loop, WentBack
from trackyard.train.loss import AnswerLoss
from trackyard.train.metering import StepCost
from trackyard.train.parameters import ComponentRate, EngineParameters, OptimiserParameters
from trackyard.train.ranks import join_ranks
from trackyard.train.rollback import Diverged, read_rollbacks

STEPS, SAVE_EVERY = 24, 4
GUARD = GuardParameters(window=16, minimum_history=16, rollback_after=3, max_rollbacks=1)

pytestmark = pytest.mark.usefixtures("one_rank")


@dataclass(frozen=True)
class Data:
    step: int
    weight: float
    inputs: torch.Tensor


class Net(torch.nn.Module):
    """Two layers that are used, and one that may be left out."""

    def __init__(self, uses_all: bool) -> None:
        super().__init__()
        self.first, self.second, self.idle = (torch.nn.Linear(4, 4) for _ in range(3))
        self.uses_all = uses_all

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = self.second(torch.tanh(self.first(inputs)))
        return self.idle(hidden) if self.uses_all else hidden


def forward(model: torch.nn.Module, inputs: torch.Tensor) -> AnswerLoss:
    errors = (model(inputs) - inputs.flip(-1)).square().mean(-1)
    return AnswerLoss(total=errors.sum(), cross_entropy=errors.detach(), weight=torch.ones_like(errors))


@dataclass
class Track:
    """Steps of random numbers that depend on the step alone; steps in `poisoned` hold infinities."""

    poisoned: Sequence[int] = ()
    blind: bool = False
    """Its probe changes nothing, as if the model did not look."""
    logged: dict[int, Logged] = field(default_factory=dict)
    intervals: list[Mapping[str, float]] = field(default_factory=list)
    again: list[int] = field(default_factory=list)

    @contextlib.contextmanager
    def steps(self, start: int) -> Iterator[Iterable[Data]]:
        yield (self.data(step) for step in range(start, STEPS))

    def data(self, step: int) -> Data:
        inputs = torch.randn(6, 4, generator=torch.Generator().manual_seed(step))
        return Data(step, 6.0, inputs * float("inf") if step in self.poisoned else inputs)

    def batches(self, data: Data) -> Iterable[torch.Tensor]:
        return [data.inputs]

    def cost(self, data: Data) -> StepCost:
        return StepCost(tokens=8, useful_tokens=6, flops=None, rows={"numbers": 6})

    def rows(self, step: int) -> list[str]:
        return [f"numbers/{6 * step + at}" for at in range(6)]

    def log(self, steps: Sequence[Logged], interval: Mapping[str, float]) -> None:
        for step in steps:
            if step.done in self.logged:
                self.again.append(step.done)
            self.logged[step.done] = step
        self.intervals.append(interval)

    def probes(self) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        numbers = self.data(0).inputs
        return {"numbers": (numbers, numbers if self.blind else -numbers)}

    def flush(self) -> None:
        """Nothing is buffered."""

    @property
    def losses(self) -> dict[int, float]:
        return {done: step.loss for done, step in sorted(self.logged.items())}


def engine(guard: Guard, uses_all: bool = True) -> Engine:
    torch.manual_seed(0)
    return Engine(
        Net(uses_all),
        component_of=lambda name: name.split(".")[0],
        optimiser=OptimiserParameters(
            rates={name: ComponentRate(learning_rate=1e-2, warmup_steps=2) for name in ("first", "second", "idle")}
        ),
        engine=EngineParameters(),
        packs_per_step=1,
        steps=STEPS,
        forward=forward,
        ranks=join_ranks(1),
        guard=guard,
    )


def loop(directory: Path, track: Track, *, uses_all: bool = True, **settings: Any) -> tuple[Engine, Loop]:
    guard = Guard(GUARD, device=torch.device("cpu"))
    made = engine(guard, uses_all)
    course = Course(
        directory=directory,
        identity={"run_id": "r"},
        steps=STEPS,
        save_every=SAVE_EVERY,
        engine=EngineParameters(keep_checkpoints=9, **settings),
        guard=GUARD,
        again="dvc repro it",
    )
    return made, Loop(made, guard, track, course)


def run(directory: Path, track: Track, stop_after: int | None = None, **settings: Any) -> Engine:
    """To the end, through every rollback."""
    taken = 0

    def progress(done: int) -> None:
        nonlocal taken
        taken = done

    while True:
        made, course = loop(directory, track, **settings)
        try:
            course.run(
                should_stop=lambda: stop_after is not None and taken >= stop_after,
                progress=progress,
                say=lambda line: None,
            )
        except WentBack:
            continue
        return made


def same(one: Engine, other: Engine) -> bool:
    found = other.weights()
    return all(torch.equal(tensor, found[name]) for name, tensor in one.weights().items())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Engine, Track, Path]:
    """A run without any trouble."""
    directory, track = tmp_path_factory.mktemp("whole"), Track()
    return run(directory, track), track, directory


def test_every_step_is_recorded_once_and_the_end_is_saved(whole: tuple[Engine, Track, Path]) -> None:
    _, track, directory = whole
    assert list(track.losses) == list(range(1, STEPS + 1))
    assert track.again == []
    assert track.losses[STEPS] < 0.8 * track.losses[1]
    assert [step_of(path) for path in complete_checkpoints(directory / CHECKPOINTS)] == list(range(4, STEPS + 1, 4))
    assert {"usage/tokens_per_second", "usage/checkpoint_stall_seconds"} <= set(track.intervals[-1])
    report = read_document(directory / AUDIT, "trackyard-audit/1", fix="")
    assert report["trained"]["tensors"] == 6
    assert report["inputs"]["numbers"] > 0.01


@pytest.mark.parametrize("log_every", [5, 100])
def test_rare_log_points_lose_nothing(whole: tuple[Engine, Track, Path], tmp_path: Path, log_every: int) -> None:
    track = Track()
    made = run(tmp_path, track, log_every=log_every)
    assert track.losses == whole[1].losses
    assert len(track.intervals) < STEPS
    assert same(made, whole[0])


@pytest.mark.parametrize("stop_after", [1, 7, STEPS - 1])
def test_a_stop_and_a_restart_change_nothing(
    whole: tuple[Engine, Track, Path], tmp_path: Path, stop_after: int
) -> None:
    track = Track()
    with pytest.raises(StoppedEarly, match=f"after step {stop_after} of {STEPS}") as stopped:
        run(tmp_path, track, stop_after=stop_after)
    assert stopped.value.fix == "dvc repro it"
    assert step_of(complete_checkpoints(tmp_path / CHECKPOINTS)[-1]) == stop_after
    made = run(tmp_path, track)
    assert track.again == []
    assert track.losses == whole[1].losses
    assert same(made, whole[0])


def test_a_bad_step_is_left_out_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    track = Track(poisoned=[9])
    made = run(tmp_path, track)
    assert [done for done, step in track.logged.items() if step.skipped] == [10]
    assert all(torch.isfinite(tensor).all() for tensor in made.weights().values())
    assert "step 10 (rows numbers/54, numbers/55" in caplog.text
    assert read_rollbacks(tmp_path) == []


def test_several_in_a_row_send_the_run_back_and_on_behind_them(tmp_path: Path) -> None:
    """Steps 10 to 12 cannot be applied: on with the weights of checkpoint 8 at step 13."""
    bad = range(9, 12)
    track = Track(poisoned=bad)
    made = run(tmp_path, track)
    [rollback] = read_rollbacks(tmp_path)
    assert (rollback.checkpoint, rollback.resume_at) == (8, 12)
    assert rollback.skipped[9][:2] == ("numbers/54", "numbers/55")
    assert track.again == []
    # By hand: what the run would be if steps 9 to 12 did not exist.
    plain = engine(Guard(GUARD, device=torch.device("cpu")))
    for step in (*range(8), *range(12, STEPS)):
        plain.step(step, [track.data(step).inputs], 6.0)
    assert same(made, plain)


def test_a_restart_behind_a_rollback_goes_the_same_way(tmp_path: Path) -> None:
    bad = range(9, 12)
    straight = run(tmp_path / "straight", Track(poisoned=bad))
    for stop_after in (13, 15):
        directory, track = tmp_path / f"stopped-{stop_after}", Track(poisoned=bad)
        with pytest.raises(StoppedEarly):
            run(directory, track, stop_after=stop_after)
        assert same(run(directory, track), straight)
        assert track.again == []


def test_after_too_many_rollbacks_the_run_stops_with_the_rows(tmp_path: Path) -> None:
    with pytest.raises(Diverged, match=r"after 1 rollbacks: step 17 \(rows numbers/96"):
        run(tmp_path, Track(poisoned=[*range(9, 12), *range(16, 19)]))
    assert complete_checkpoints(tmp_path / CHECKPOINTS)


def test_a_weight_that_is_not_used_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="without a gradient"):
        run(tmp_path, Track(), uses_all=False)


def test_an_input_that_the_model_does_not_look_at_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match=r"inputs without an effect.*numbers"):
        run(tmp_path, Track(blind=True))
