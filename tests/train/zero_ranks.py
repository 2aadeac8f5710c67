"""Two real ranks (gloo) under every ZeRO stage: what becomes of bad steps, of gradient norms, and of the audit.

Run once per test session by `results()`: torch and DeepSpeed take seconds to start. Each rank writes what it saw as
JSON; the tests of guard, norms and audit look at it.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from trackyard.errors import TrackyardError
from trackyard.launch.processes import free_port
from trackyard.train.audit import TrainingAudit, audit_inputs, own_part
from trackyard.train.engine import Engine, Judge
from trackyard.train.guard import Guard
from trackyard.train.guard_parameters import GuardParameters
from trackyard.train.loss import AnswerLoss
from trackyard.train.norms import gradient_norms
from trackyard.train.parameters import ComponentRate, EngineParameters, OptimiserParameters
from trackyard.train.ranks import Ranks, join_ranks
from trackyard.train.state import TrainingState

WORLD = 2
MODES = [("fp32", 0), ("fp32", 1), ("fp32", 2), ("fp32", 3), ("bf16", 1), ("bf16", 2), ("bf16", 3)]
BAD = ["nan loss on one rank", "inf loss", "nan gradient", "norm x 1e6", "loss x 10", "no target"]
PARAMETERS = GuardParameters(window=16, minimum_history=4)
HISTORY = 6


class Net(torch.nn.Module):
    """Two trained layers behind a frozen one, and a spare layer that nothing uses."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = torch.nn.Linear(6, 6)
        self.a = torch.nn.Linear(6, 16)
        self.b = torch.nn.Linear(16, 4)
        self.spare = torch.nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.b(torch.tanh(self.a(self.frozen(x))))
        return out


class _Backward(torch.autograd.Function):
    """The identity with a gradient of another size."""

    @staticmethod
    def forward(context: Any, value: torch.Tensor, factor: float) -> torch.Tensor:
        context.factor = factor
        return value.clone()

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient * context.factor, None


def forward(model: torch.nn.Module, batch: tuple[torch.Tensor, torch.Tensor, str, int]) -> AnswerLoss:
    x, y, bad, rank = batch
    out = model(x.to(next(model.parameters()).dtype)).float()
    if bad == "norm x 1e6" or (bad == "nan gradient" and rank == 0):
        out = _Backward.apply(out, 1e6 if bad == "norm x 1e6" else float("nan"))
    losses = (out - y).square().mean(-1)
    total = losses.sum()
    if bad == "nan loss on one rank" and rank == 1:
        total = total * float("nan")
    if bad == "inf loss":
        total = total * float("inf")
    if bad == "loss x 10":
        total = total + 9 * total.detach()
    if bad == "no target":
        total = total * 0.0
    return AnswerLoss(total=total, cross_entropy=losses.detach(), weight=torch.ones(len(x)))


class Switch:
    """A judge that can be turned off: then every update is applied."""

    def __init__(self, judge: Judge) -> None:
        self.judge, self.on = judge, True

    def verdict(self, loss: torch.Tensor, gradient_norm: torch.Tensor) -> torch.Tensor:
        found = self.judge.verdict(loss, gradient_norm)
        return found if self.on else torch.zeros_like(found)


def engine(ranks: Ranks, mode: tuple[str, int], guard: Judge | None, *, spare: float = 0.0) -> Engine:
    torch.manual_seed(0)
    rates = {"frozen": 0.0, "a": 1e-2, "b": 1e-2, "spare": spare}
    return Engine(
        Net(),
        component_of=component_of,
        optimiser=OptimiserParameters(
            rates={name: ComponentRate(learning_rate=rate, warmup_steps=1) for name, rate in rates.items()},
            weight_decay=0.1,
        ),
        engine=EngineParameters(micro_batch=1, precision=mode[0], zero_stage=mode[1]),  # type: ignore[arg-type]
        packs_per_step=2 * WORLD,
        steps=100,
        forward=forward,
        ranks=ranks,
        guard=guard,
    )


def component_of(name: str) -> str:
    return name.split(".")[0]


def take(of: Engine, number: int, bad: str = "") -> Any:
    """One step of two micro-batches of eight targets each."""
    random = torch.Generator().manual_seed(1000 * number + of.ranks.rank)
    batches = [
        (torch.randn(8, 6, generator=random), torch.randn(8, 4, generator=random), bad, of.ranks.rank) for _ in range(2)
    ]
    return of.step(number, batches, 0.0 if bad == "no target" else 16.0)


def parameters(of: Engine) -> dict[str, torch.nn.Parameter]:
    return dict(of.named_parameters())


def snapshot(of: Engine) -> list[torch.Tensor]:
    """Masters, moments, step counts and the weights that the model computes with, of this rank."""
    state = TrainingState.of(of.deepspeed, parameters(of))
    live = [own_part(weight).detach() for weight in parameters(of).values()]
    kinds = [tensor for fragment in state.held for tensor in fragment.tensors.values()]
    return [tensor.clone() for tensor in (*kinds, *state.steps, *live)]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    """Bit for bit, and more than nothing was compared."""
    return len(one) == len(other) > 4 and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def run(ranks: Ranks, mode: tuple[str, int]) -> dict[str, Any]:
    """A run with every kind of bad step in it, beside one without; then the guard turned off, and what is left."""
    judge, other = (Switch(Guard(PARAMETERS, device=torch.device("cpu"))) for _ in range(2))
    of, control = engine(ranks, mode, judge), engine(ranks, mode, other)
    seen: dict[str, Any] = {"untouched": {}, "skipped": {}, "unguarded": {}, "losses": []}
    right = audit(control)

    def good(number: int) -> None:
        ours, theirs = take(of, number), take(control, number)
        seen["losses"].append((float(ours.loss), float(theirs.loss)))
        right.applied(theirs.rates)

    good(0)
    audits = {"after a step at rate 0": outcome(right, ranks)}
    for number in range(1, HISTORY):
        good(number)
    audits["right"] = outcome(right, ranks)
    for at, bad in enumerate(BAD):
        before = snapshot(of)
        result = take(of, 50 + at, bad)
        seen["untouched"][bad] = same(before, snapshot(of))
        seen["skipped"][bad] = float(result.skipped)
        good(HISTORY + at)
    assert isinstance(judge.judge, Guard)
    seen["reasons"] = [[item.step, *item.reasons] for item in judge.judge.skipped()]
    seen["as if it had not been"] = same(snapshot(of), snapshot(control))
    seen["finite"] = all(bool(torch.isfinite(tensor).all()) for tensor in snapshot(of))
    judge.on = False
    for bad in ("norm x 1e6", "loss x 10", "nan gradient"):
        before = snapshot(of)
        take(of, 60, bad)
        after = snapshot(of)
        finite = all(bool(torch.isfinite(tensor).all()) for tensor in after)
        seen["unguarded"][bad] = "untouched" if same(before, after) else "changed" if finite else "not finite"
    return {
        "guard": seen,
        "norms": norms(control, other),
        "inputs": inputs(ranks, control),
        "audit": audits | wrong(ranks, mode, control, right),
    }


def norms(of: Engine, judge: Switch) -> dict[str, Any]:
    """Norms before `step`, inside of it, and what the engine itself finds."""
    components = ["a", "b"]
    inside: list[dict[str, float]] = []

    class Inside:
        def verdict(self, loss: torch.Tensor, gradient_norm: torch.Tensor) -> torch.Tensor:
            inside.append(gradient_norms(of.deepspeed, components).read())
            return torch.zeros(())

    step, before = of.deepspeed.step, []

    def watched() -> None:
        if of.deepspeed.is_gradient_accumulation_boundary():
            found = gradient_norms(of.deepspeed, components)
            before.append({**found.read(), "whole": float(found.whole)})
        step()

    judge.judge, of.deepspeed.step = Inside(), watched
    result = take(of, 70)
    of.deepspeed.step = step
    return {"before": before, "inside": inside, "engine": float(result.gradient_norm)}


def audit(of: Engine) -> TrainingAudit:
    state = TrainingState.of(of.deepspeed, parameters(of))
    return TrainingAudit(state, parameters(of), component_of=component_of, device=torch.device("cpu"))


def outcome(audit: TrainingAudit, ranks: Ranks) -> Any:
    try:
        return audit.finish(ranks.total).to_json()
    except TrackyardError as error:
        return error.what


def wrong(ranks: Ranks, mode: tuple[str, int], of: Engine, right: TrainingAudit) -> dict[str, Any]:
    """What the audit says where training is not what it was configured to be."""
    seen = {}
    idle = audit(of)
    idle.applied({"a": 1.0, "b": 1.0})
    seen["not moved"] = outcome(idle, ranks)
    own = parameters(of)["frozen.weight"]
    if ranks.rank == 1:
        getattr(own, "ds_tensor", own).data.view(-1)[0] += 0.5
    seen["frozen changed"] = outcome(right, ranks)
    right._state = TrainingState(shapes=right._state.shapes, steps=(), held=(), written=())
    right._before_trained = []
    seen["nothing examined"] = outcome(right, ranks)
    if mode in (("fp32", 0), ("fp32", 3), ("bf16", 2)):
        dead = engine(ranks, mode, None, spare=1e-2)
        told = audit(dead)
        for number in (1, 2):
            told.applied(take(dead, number).rates)
        seen["dead"] = outcome(told, ranks)
    return seen


def inputs(ranks: Ranks, of: Engine) -> dict[str, Any]:
    """Perturbations under this stage: the second half of the input is one that only rank 1 has."""
    x = torch.ones(2, 6)

    def output(batch: torch.Tensor) -> torch.Tensor:
        return of.deepspeed((batch, torch.zeros(2, 4), "", ranks.rank))[1]

    moved = x.clone()
    moved[:, 3:] += float(ranks.rank)
    seen = {}
    for name, perturbed in (("seen", {"all": 2 * x, "of one rank": moved}), ("blind", {"all": 2 * x, "none": x})):
        try:
            seen[name] = sorted(audit_inputs(output, x, perturbed, total=ranks.total))
        except TrackyardError as error:
            seen[name] = error.what
    return seen


def main(directory: Path) -> None:
    torch.set_num_threads(1)
    ranks = join_ranks(1, timeout_s=120)
    found = {}
    for mode in MODES:
        # DeepSpeed collects garbage while it starts an engine; what imports have made need not be looked through.
        gc.freeze()
        found[f"{mode[0]} ZeRO {mode[1]}"] = run(ranks, mode)
    (directory / f"rank-{ranks.rank}.json").write_text(json.dumps(found))
    # A ZeRO-3 rank sometimes aborts when the interpreter ends (design section 7); what counts is written.
    sys.stdout.flush()
    os._exit(0)


@lru_cache(maxsize=1)
def results() -> list[dict[str, Any]]:
    """What each rank saw: mode -> what `run` returns."""
    port = str(free_port())
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        logs = [stack.enter_context((Path(directory) / f"{rank}.txt").open("w+")) for rank in range(WORLD)]
        started = [
            subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", "tests.train.zero_ranks", directory],
                cwd=Path(__file__).parents[2],
                env=os.environ
                | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(WORLD), "OMP_NUM_THREADS": "1"}
                | {"RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(WORLD)},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            for rank, log in enumerate(logs)
        ]
        for process in started:
            stack.callback(process.wait)
            stack.callback(process.kill)
        deadline = time.monotonic() + 180
        # One that fails leaves the other in a collective.
        while any(process.poll() is None for process in started) and time.monotonic() < deadline:
            if any(process.poll() for process in started):
                break
            time.sleep(0.05)
        paths = [Path(directory) / f"rank-{rank}.json" for rank in range(WORLD)]
        said = [Path(log.name).read_text()[-3000:] for log in logs]
        assert all(path.exists() for path in paths), "\n".join(said)
        return [json.loads(path.read_text()) for path in paths]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
