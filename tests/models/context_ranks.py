"""Four gloo processes that compute every case of context parallelism, started once: `python -m` this module.

Usage: context_ranks RESULTS. Each case compares the loss and the gradients of one step with those of rank 0 alone;
rank 0 writes {case: {"loss": relative difference, "gradient": largest relative difference of a parameter, ...}}.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import deepspeed.comm
import deepspeed.ops
import numpy as np
import torch
import torch.distributed as dist
import torch.nn.attention.flex_attention as flex
from transformers import AttentionInterface, Gemma3ForCausalLM, Gemma3TextConfig, GPTNeoXConfig, GPTNeoXForCausalLM

from tests.tiny_molmo2 import batch, model, sample
from trackyard.feed.batch import Batch
from trackyard.models import attend
from trackyard.models.attention import use_masks
from trackyard.models.context import ContextGroup
from trackyard.models.text_packs import TextPacks, answers
from trackyard.recipes.molmo2.forward import forward, own_answers
from trackyard.train.loss import answer_loss
from trackyard.train.memory import recompute

WORLD = 4
VOCABULARY, SEPARATOR, WINDOW = 64, 0, 8
Loss = Callable[[Any, Any, ContextGroup | None], torch.Tensor]
"""Model, packs, group: the sum of weighted losses of this rank's answers."""


@dataclass(frozen=True)
class Found:
    """Of a whole step, on rank 0. gradients: by name, of the weighted mean."""

    loss: float
    gradients: dict[str, torch.Tensor]


def step(
    net: Any, loss: Loss, packs: Any, weight: float, group: dist.ProcessGroup | None, context: ContextGroup | None
) -> Found:
    """One step: local loss, gradients summed over the ranks of `group`, both divided by the global weight."""
    net.zero_grad(set_to_none=True)
    total = loss(net, packs, context)
    total.backward()
    value = total.detach().double().clone()
    gradients = {}
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, f"{name} has no gradient"
        gradients[name] = parameter.grad.clone()
    if group is not None:
        dist.all_reduce(value, group=group)
        flat = torch.cat([gradient.flatten() for gradient in gradients.values()])
        dist.all_reduce(flat, group=group)
        for gradient, part in zip(
            gradients.values(), flat.split([gradient.numel() for gradient in gradients.values()]), strict=True
        ):
            gradient.copy_(part.view_as(gradient))
    return Found(float(value) / weight, {name: gradient / weight for name, gradient in gradients.items()})


def difference(found: Found, wanted: Found) -> dict[str, float]:
    """Relative differences. A gradient that is zero but for rounding is measured against the others."""
    whole = max(float(gradient.norm()) for gradient in wanted.gradients.values())
    return {
        "loss": abs(found.loss - wanted.loss) / abs(wanted.loss),
        "gradient": max(
            float((found.gradients[name] - gradient).norm()) / max(float(gradient.norm()), 1e-4 * whole)
            for name, gradient in wanted.gradients.items()
        ),
    }


# The three families --------------------------------------------------------------------------------------------------


def molmo2() -> Any:
    net = model().train()
    use_masks(net, "dense")
    return net


def molmo2_loss(net: Any, packs: Batch, context: ContextGroup | None) -> torch.Tensor:
    return forward(net, packs, context, loss_chunk=64).total


def molmo2_packs() -> list[Batch]:
    """Two packs of equal length: branches and a video; images and text."""
    rows = [[sample("vqa-v2", 0), sample("molmo2-cap", 0)], [sample("tulu", 1), sample("tallyqa", 0)]]
    length = max(sum(len(row.tree) for row in pack) for pack in rows) + 5
    return [batch([pack], length=length) for pack in rows] + [batch(rows, length=length)]


def gpt_neox() -> Any:
    return text_model(
        GPTNeoXForCausalLM,
        GPTNeoXConfig(
            vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64
        ),
    )


def gemma3() -> Any:
    """One layer of each kind, one key head for four query heads."""
    return text_model(
        Gemma3ForCausalLM,
        Gemma3TextConfig(
            vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=1,
            head_dim=8, intermediate_size=64, sliding_window=WINDOW,
            layer_types=["sliding_attention", "full_attention"], query_pre_attn_scalar=8,
        ),
    )  # fmt: skip


def text_model(kind: Any, config: Any) -> Any:
    torch.manual_seed(0)
    config.initializer_range = 0.3
    net = kind(config).train()
    use_masks(net, "dense")
    return net


def text_loss(net: Any, packs: TextPacks, context: ContextGroup | None) -> torch.Tensor:
    found = answers(net, packs, context)
    return answer_loss(found.hidden_AD, net.get_output_embeddings(), found.targets_A, found.weights_A).total


def text_packs() -> list[TextPacks]:
    """Two windows of several documents, 45 tokens: padded to 46 and 48."""
    windows = np.random.default_rng(3).integers(0, VOCABULARY, (2, 46))
    windows[:, ::13] = SEPARATOR
    packs = TextPacks.of_windows(windows, separator=SEPARATOR)
    return [only(packs, 0), only(packs, 1), packs]


def only(packs: TextPacks, number: int) -> TextPacks:
    names = ("input_ids", "positions", "segments", "targets", "weights")
    return TextPacks(**{name: getattr(packs, name)[number : number + 1] for name in names})


# The cases -----------------------------------------------------------------------------------------------------------


class Run:
    """What one rank does; every rank takes the same way through it."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        groups = [dist.new_group([0, 1]), dist.new_group([2, 3])]
        self.pair = groups[rank // 2]
        self.context = ContextGroup.of(self.pair)
        self.results: dict[str, dict[str, float]] = {}

    def compare(self, name: str, found: Found | None, wanted: Found | None) -> None:
        if found is not None and wanted is not None:
            self.results[name] = difference(found, wanted)

    def splits(self, name: str, net: Any, loss: Loss, first: Any, second: Any, both: Any) -> Found | None:
        """1 rank against 2 data-parallel, 2 context-parallel, 2 x 2 and 4 context-parallel ranks."""
        weight = float(np.asarray(both.weights).sum(dtype=np.float64))
        alone = step(net, loss, both, weight, None, None) if self.rank == 0 else None
        if self.rank < 2:
            found = step(net, loss, (first, second)[self.rank], weight, self.pair, None)
            self.compare(f"{name} 2 data-parallel", found, alone)
            found = step(net, loss, both, weight, self.pair, self.context)
            self.compare(f"{name} 2 context-parallel", found, alone)
        found = step(net, loss, (first, second)[self.rank // 2], weight, dist.group.WORLD, self.context)
        self.compare(f"{name} 2x2", found, alone)
        four = ContextGroup.of(dist.group.WORLD)
        self.compare(f"{name} 4 context-parallel", step(net, loss, both, weight, four.group, four), alone)
        return alone

    def shared(self, name: str, net: Any, loss: Loss, packs: Any, wanted: Found | None, weight: float) -> None:
        """2 context-parallel ranks against a loss that is known."""
        if self.rank < 2:
            self.compare(name, step(net, loss, packs, weight, self.pair, self.context), wanted)

    def molmo2(self) -> None:
        net, (first, second, both) = molmo2(), molmo2_packs()
        alone = self.splits("molmo2", net, molmo2_loss, first, second, both)
        weight = float(both.weights.sum(dtype=np.float64))
        blind = replace(both, visual_flags=np.zeros_like(both.visual_flags))
        self.shared("molmo2 without visual blocks", net, molmo2_loss, blind, alone, weight)
        with causal():
            self.shared("molmo2 causal", net, molmo2_loss, both, alone, weight)
        for name, packs in edges().items():
            weight = float(packs.weights.sum(dtype=np.float64))
            lone = step(net, molmo2_loss, packs, weight, None, None) if self.rank == 0 else None
            self.shared(f"molmo2 {name}", net, molmo2_loss, packs, lone, weight)
        self.answers(net, both)
        self.recomputed(net, both, alone)
        self.blocks(net, both)

    def recomputed(self, net: Any, packs: Batch, alone: Found | None) -> None:
        """The exchanges run once more in the backward pass, in one order on all ranks."""
        weight = float(packs.weights.sum(dtype=np.float64))
        for how in ("full", "selective"):
            recompute(net, how)
            self.shared(f"molmo2 recomputed {how}", net, molmo2_loss, packs, alone, weight)
        net.gradient_checkpointing_disable()

    def answers(self, net: Any, packs: Batch) -> None:
        """Losses of the ranks, answer by answer, put where `own_answers` says, are those of one rank."""
        with torch.no_grad():
            lone = forward(net, packs).cross_entropy
            if self.rank < 2:
                own = torch.from_numpy(own_answers(net, packs, self.context))
                found = torch.zeros_like(lone)
                found[own] = forward(net, packs, self.context).cross_entropy
                dist.all_reduce(found, group=self.pair)
                self.results["molmo2 answers"] = {
                    "loss": float((found - lone).abs().max()), "own": float(own.sum()), "all": float(len(own)),
                }  # fmt: skip

    def blocks(self, net: Any, packs: Batch) -> None:
        """Block masks, by the plain reference of flex attention: no backward pass on the CPU."""
        if self.rank < 2:
            with torch.no_grad(), uncompiled():
                lone = float(forward(net, packs).total)
                use_masks(net, "blocks")
                found = forward(net, packs, self.context).total
                dist.all_reduce(found, group=self.pair)
                self.results["molmo2 block masks"] = {"loss": abs(float(found) - lone) / lone}

    def gpt_neox(self) -> None:
        net, (first, second, both) = gpt_neox(), text_packs()
        alone = self.splits("gpt_neox", net, text_loss, first, second, both)
        weight = float(both.weights.sum(dtype=np.float64))
        joined = replace(both, segments=np.zeros_like(both.segments))
        self.shared("gpt_neox without documents", net, text_loss, joined, alone, weight)
        with causal():
            self.shared("gpt_neox causal", net, text_loss, both, alone, weight)

    def gemma3(self) -> None:
        net, (first, second, both) = gemma3(), text_packs()
        alone = self.splits("gemma3", net, text_loss, first, second, both)
        weight = float(both.weights.sum(dtype=np.float64))
        net.config.sliding_window = 10_000
        self.shared("gemma3 without window", net, text_loss, both, alone, weight)
        with causal():
            self.shared("gemma3 causal", net, text_loss, both, alone, weight)
        joined = replace(both, segments=np.zeros_like(both.segments)).padded(46)
        plain = step(net, text_loss, joined, weight, None, None) if self.rank == 0 else None
        net.config.sliding_window = WINDOW
        net.set_attn_implementation("sdpa")
        loss = deepspeeds_wrapper(net)
        self.shared("gemma3 by DeepSpeed's wrapper", net, loss, both.padded(46), alone, weight)
        self.shared("plain text by DeepSpeed's wrapper", net, loss, joined, plain, weight)


def edges() -> dict[str, Batch]:
    """Packs whose second rank has nothing to encode, nothing to answer, or neither."""
    image = sample("pixmo-cap", 0)
    return {
        "text alone": batch([[sample("tulu", 0)]]),
        "one image": batch([[image, sample("tulu", 2)]]),
        "half a pack": batch([[image]], length=2 * len(image.tree) + 6),
    }


@contextlib.contextmanager
def causal() -> Iterator[None]:
    """What the ranks would compute if the mask were dropped between the exchanges."""

    def dropped(*arguments: Any, **options: Any) -> Any:
        mask = torch.ones_like(arguments[4]).tril()
        return attend.attend(*arguments[:4], mask, *arguments[5:], **options)

    AttentionInterface.register(attend.DENSE, dropped)
    try:
        yield
    finally:
        AttentionInterface.register(attend.DENSE, attend.attend)


@contextlib.contextmanager
def uncompiled() -> Iterator[None]:
    flex._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG = True
    with torch.compiler.set_stance("force_eager"):
        yield


def deepspeeds_wrapper(net: Any) -> Loss:
    """The loss under `UlyssesSPAttentionHF`, given the same masks. It replaces sdpa for good: call it last."""
    from deepspeed.runtime.sequence_parallel.ulysses_sp import UlyssesSPAttentionHF

    from trackyard.models.text_packs import prepared_masks

    UlyssesSPAttentionHF.register_with_transformers(net, "sdpa", sequence_parallel_size=2, micro_batch_size=2)

    def loss(net: Any, packs: TextPacks, context: ContextGroup | None) -> torch.Tensor:
        if context is None:
            return text_loss(net, packs, None)
        size = packs.input_ids.shape[1] // 2
        own = slice(context.rank * size, (context.rank + 1) * size)
        hidden = net.base_model(
            input_ids=torch.from_numpy(packs.input_ids[:, own]),
            position_ids=torch.from_numpy(packs.positions[:, own]),
            attention_mask=prepared_masks(net, packs.visibility(), torch.device("cpu"), None),
            use_cache=False,
        ).last_hidden_state
        learned = torch.from_numpy(packs.weights[:, own] > 0)
        targets, weights = (torch.from_numpy(array[:, own])[learned] for array in (packs.targets, packs.weights))
        return answer_loss(hidden[learned], net.get_output_embeddings(), targets, weights).total

    return loss


def work(rank: int, store: str, results: Path) -> None:
    join(rank, WORLD, store)
    run = Run(rank)
    run.molmo2()
    run.gpt_neox()
    run.gemma3()
    dist.barrier()
    if rank == 0:
        results.write_text(json.dumps(run.results))
    dist.destroy_process_group()


def join(rank: int, world: int, store: str) -> None:
    """One of `world` gloo processes, known to DeepSpeed as well."""
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world), LOCAL_RANK=str(rank))
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.comm.init_distributed("gloo", dist_init_required=False)


def forked(work: Callable[[int, str, Path], None], world: int, results: Path) -> int:
    """Run `world` ranks to their end; the largest exit code. Forked, so that torch is imported once."""
    fork = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        store = str(Path(folder) / "store")
        ranks = [fork.Process(target=work, args=(rank, store, results)) for rank in range(world)]
        for process in ranks:
            process.start()
        for process in ranks:
            process.join()
    return max(abs(process.exitcode or 0) for process in ranks)


if __name__ == "__main__":
    sys.exit(forked(work, WORLD, Path(sys.argv[1])))
