"""Child of test_equality.py: one step of every model family on worlds of gloo processes, divided in every way.

`python -m` this module, output: one line of JSON, {case: {"loss": ..., "gradient": ...}}, relative to one rank under
ZeRO 0. torch and DeepSpeed are imported once, before any world is forked.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from tests.models.context_ranks import gemma3, gpt_neox, molmo2, molmo2_packs, text_packs
from trackyard.feed.visibility import Visibility
from trackyard.launch.processes import free_port
from trackyard.models.context import ContextGroup
from trackyard.models.molmo2 import component_of
from trackyard.models.text_packs import answers
from trackyard.recipes.molmo2.forward import forward
from trackyard.train.engine import Engine, Forward, _deepspeed
from trackyard.train.loss import AnswerLoss, answer_loss
from trackyard.train.parameters import ComponentRate, EngineParameters, OptimiserParameters
from trackyard.train.ranks import join_ranks
from trackyard.train.state import TrainingState

BETA1 = 0.9
STAGES = (0, 1, 2, 3)


@dataclass(frozen=True)
class Family:
    """A tiny model, its two packs, what they weigh, and the components it has."""

    build: Callable[[], Any]
    packs: Callable[[], list[Any]]
    forward: Callable[[ContextGroup | None], Forward]
    component_of: Callable[[str], str]
    components: tuple[str, ...]


def text_forward(context: ContextGroup | None) -> Forward:
    def run(model: Any, packs: Any) -> AnswerLoss:
        found = answers(model, packs, context)
        return answer_loss(found.hidden_AD, model.get_output_embeddings(), found.targets_A, found.weights_A)

    return run


FAMILIES = {
    "molmo2": Family(
        molmo2,
        molmo2_packs,
        lambda context: lambda model, packs: forward(model, packs, context, loss_chunk=64),
        component_of,
        ("vit", "connector", "llm"),
    ),
    "gpt_neox": Family(gpt_neox, text_packs, text_forward, lambda name: "llm", ("llm",)),
    "gemma3": Family(gemma3, text_packs, text_forward, lambda name: "llm", ("llm",)),
}


def causal_only(self: Visibility) -> Any:
    """In the place of `Visibility.dense`: the mask that a wrapper without ours would apply."""
    import numpy as np

    packs, length = self.levels.shape
    return np.broadcast_to(np.tri(length, dtype=np.bool_), (packs, length, length)).copy()


def one_step(family: Family, world: int, degree: int, stage: int) -> dict[str, Any] | None:
    """Loss of the step and its gradient, from AdamW's first moment; on rank 0 only."""
    ranks = join_ranks(1, context=degree)
    context = ContextGroup.of(ranks.context_group)
    engine = Engine(
        family.build(),
        component_of=family.component_of,
        optimiser=OptimiserParameters(
            rates={name: ComponentRate(learning_rate=1e-3, warmup_steps=0) for name in family.components},
            beta1=BETA1,
            clip_norm=1e9,
        ),
        engine=EngineParameters(zero_stage=stage, context_degree=degree),  # type: ignore[arg-type]
        packs_per_step=2,
        steps=4,
        forward=family.forward(context),
        ranks=ranks,
    )
    mine = family.packs()[:2][ranks.data_rank :: ranks.data_ranks]
    # Every rank of a group names its part of the weight: together they are the whole.
    weight = sum(float(packs.weights.sum(dtype="float64")) for packs in mine) / degree
    result = engine.step(0, mine, weight)
    state = TrainingState.of(engine.deepspeed, dict(engine.named_parameters()))
    pieces = [(part.name, part.start, part.tensors["exp_avg"].clone()) for part in state.written]
    gathered: list[Any] = [None] * world
    dist.all_gather_object(gathered, pieces)
    if ranks.rank:
        return None
    moments = {name: torch.zeros(torch.Size(shape).numel()) for name, shape in state.shapes.items()}
    for name, start, values in (piece for part in gathered for piece in part):
        moments[name][start : start + len(values)] = values
    gradients = {name: moment / (1 - BETA1) for name, moment in moments.items()}
    return {"loss": float(result.loss), "norm": float(result.gradient_norm), "gradients": gradients}


def work(rank: int, world: int, port: int, cases: list[tuple[str, int, int]], out: Path) -> None:
    os.environ.update(
        RANK=str(rank), WORLD_SIZE=str(world), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(world),
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
    )  # fmt: skip
    torch.set_num_threads(1)
    found = {}
    for name, degree, stage in cases:
        if name.endswith(", no mask"):
            kept, Visibility.dense = Visibility.dense, causal_only  # type: ignore[method-assign]
            found[name, degree, stage] = one_step(FAMILIES[name.partition(",")[0]], world, degree, stage)
            Visibility.dense = kept  # type: ignore[method-assign]
        else:
            found[name, degree, stage] = one_step(FAMILIES[name], world, degree, stage)
    if rank == 0:
        torch.save(found, out)
    dist.barrier()
    # DeepSpeed sometimes aborts while the interpreter ends, after all work is done.
    os._exit(0)


def difference(found: dict[str, Any], wanted: dict[str, Any]) -> dict[str, float]:
    """Relative; a gradient that is zero but for rounding is measured against the largest."""
    largest = max(float(gradient.norm()) for gradient in wanted["gradients"].values())
    return {
        "loss": abs(found["loss"] - wanted["loss"]) / abs(wanted["loss"]),
        "norm": abs(found["norm"] - wanted["norm"]) / abs(wanted["norm"]),
        "gradient": max(
            float((found["gradients"][name] - gradient).norm()) / max(float(gradient.norm()), 1e-3 * largest)
            for name, gradient in wanted["gradients"].items()
        ),
        "tensors": len(wanted["gradients"]),
    }


def main() -> None:
    _deepspeed()
    worlds: dict[int, list[tuple[str, int, int]]] = {1: [], 2: [], 4: []}
    for name in FAMILIES:
        worlds[1] += [(name, 1, stage) for stage in STAGES]
        worlds[2] += [(name, degree, stage) for degree in (1, 2) for stage in STAGES]
        worlds[2] += [(f"{name}, no mask", 2, 0)]
        worlds[4] += [(name, 2, stage) for stage in STAGES]
    fork = multiprocessing.get_context("fork")
    results: dict[str, Any] = {}
    reference: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for world, cases in worlds.items():
            out = Path(folder) / f"{world}.pt"
            port = free_port()
            ranks = [fork.Process(target=work, args=(rank, world, port, cases, out)) for rank in range(world)]
            for process in ranks:
                process.start()
            for process in ranks:
                process.join()
            for (name, degree, stage), found in torch.load(out, weights_only=True).items():
                family = name.partition(",")[0]
                if world == 1 and stage == 0:
                    reference[family] = found
                case = f"{name}: {world // degree} x {degree}, ZeRO {stage}"
                results[case] = difference(found, reference[family])
    sys.stdout.write(json.dumps(results) + "\n")


if __name__ == "__main__":
    main()
