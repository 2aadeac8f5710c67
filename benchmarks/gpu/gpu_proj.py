"""G2: training TheWorld's projector in front of a frozen Gemma 3 4B, beside the loop that was published with it.

    python -m benchmarks.gpu.gpu_proj [--tiny] [--steps N] [--out FILE]

Packages beside trackyard's own: a CUDA build of torch, accelerate, diffusers. No hub access: random weights, random
pictures. Ours is what `trackyard run datacomp train` runs: the same model, samples packed behind each other under block
masks, latents from the cache, logits at the answer only, the engine with its groups. The reference: transformers'
device map, one picture at a time through the VAE, the stock attention, logits of every token, AdamW of the projector;
it caches nothing. Both compute activations again in spatial mode, where 4,096 world tokens leave no choice. First a
tiny model in fp32 on the same device must have the same loss both ways; other latents must be noticed.

Targets: 6 (spatial), 30 (channel) and 75 (channel, with the soft tokens of pictures cached as well) samples/s, 2 times
the reference. The third is of a vision tower that is replaced by a table: the track itself runs the tower.
Source: performance spec sections 3, 5, 7, G2; theworld spec.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.device import compile_layers, device_of, forget, in_turns, name_of
from benchmarks.gpu.script import PACKAGES, Given, Workload, run, summary
from benchmarks.gpu.theworld_inputs import (
    ANSWER,
    BEFORE,
    GEMMA3_4B,
    QUESTION,
    TINY,
    Mode,
    Samples,
    Size,
    gemma_of,
    latents_of,
    prepared,
    samples_of,
    vae_of,
)
from benchmarks.harness import Target, Unequal, figures_of, judge
from benchmarks.limits import at_least
from trackyard.models.theworld.batch import WorldBatch, WorldSample, pack
from trackyard.models.theworld.branch import WorldBranch, between
from trackyard.models.theworld.model import TheWorld
from trackyard.models.theworld.parameters import tokens_of
from trackyard.recipes.datacomp.parameters import TrainingParameters
from trackyard.recipes.datacomp.training.forward import forward
from trackyard.recipes.datacomp.training.groups import WorldEngine, component_of, group_settings, optimiser_of
from trackyard.train.flops import Transformer, gemma3_projector_work, step_flops
from trackyard.train.parameters import EngineParameters
from trackyard.train.ranks import join_ranks

OURS, REFERENCE = "trackyard", "device map loop"
TRAINING = TrainingParameters(warmup_steps=0)
R_TEXT = 1.0
"""Size of a token: weights are random, and so is that of their text."""
TOLERANCE = 1e-5
"""Relative difference of an fp32 loss."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A mode, samples of a step, how many of them at a time (ours, the reference), and the rate that is wanted.

    soft_cached: soft tokens of the pictures are read from a table.
    """

    name: str
    mode: Mode
    samples: int
    together: int
    naive: int
    wanted: float
    soft_cached: bool = False

    @property
    def recomputes(self) -> bool:
        return self.mode == "spatial"


CASES = (
    Case(name="spatial", mode="spatial", samples=16, together=4, naive=2, wanted=6.0),
    Case(name="channel", mode="channel", samples=64, together=32, naive=4, wanted=30.0),
    Case(name="channel, cached", mode="channel", samples=64, together=32, naive=4, wanted=75.0, soft_cached=True),
)
TINY_CASES = tuple(
    Case(
        name=case.name, mode=case.mode, samples=2, together=2, naive=1, wanted=case.wanted, soft_cached=case.soft_cached
    )
    for case in CASES
)


def branch_of(size: Size, mode: Mode, gemma: Any) -> WorldBranch:
    return WorldBranch.initial(size.world(mode), size.latent, gemma, R_TEXT, seed=1)


def packed(samples: list[WorldSample], together: int) -> list[WorldBatch]:
    """Micro-batches of a step."""
    return [pack(samples[at : at + together]) for at in range(0, len(samples), together)]


class Reference:
    """The published way, on one device. branch: its projector, with boundaries and gain as ours."""

    def __init__(self, case: Case, size: Size, gemma: Any, vae: Any, device: torch.device) -> None:
        from accelerate import dispatch_model

        self._case, self._size, self._vae, self._device = case, size, vae, device
        gemma.set_attn_implementation("sdpa")
        gemma.requires_grad_(False)
        if case.recomputes:
            gemma.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        gemma.train()
        self.branch = branch_of(size, case.mode, gemma)
        where: Any = "cpu" if device.type == "cpu" else 0
        self._gemma = dispatch_model(gemma, device_map={"": where}, force_hooks=True)
        self._optimizer = torch.optim.AdamW(self.branch.parameters(), lr=TRAINING.learning_rate)

    def loss(self, part: Samples) -> Any:
        device, size = self._device, self._size
        latents = torch.cat([latents_of(self._vae, torch.from_numpy(one[None]).to(device)) for one in part.world_image])
        ids = torch.from_numpy(part.ids).to(device)
        text = self._gemma.get_input_embeddings()(ids)
        soft = soft_tokens(self._gemma, torch.from_numpy(part.image).to(device)).to(text.dtype)
        world = between(self.branch.boundaries, self.branch(latents)).to(text.dtype)
        embeddings = torch.cat([text[:, :1], soft, text[:, 1:BEFORE], world, text[:, BEFORE:]], dim=1)
        types = torch.zeros(embeddings.shape[:2], dtype=torch.long, device=device)
        types[:, 1 : 1 + size.image_tokens] = 1
        labels = torch.full_like(types, -100)
        labels[:, -ANSWER:] = ids[:, -ANSWER:]
        return self._gemma(inputs_embeds=embeddings, token_type_ids=types, labels=labels, use_cache=False).loss

    def step(self, samples: Samples) -> None:
        count = self._case.naive
        self._optimizer.zero_grad()
        for at in range(0, self._case.samples, count):
            loss = self.loss(samples.part(slice(at, at + count)))
            (loss * count / self._case.samples).backward()
        torch.nn.utils.clip_grad_norm_(self.branch.parameters(), TRAINING.clip_norm)
        self._optimizer.step()


def soft_tokens(gemma: Any, images_N3SS: torch.Tensor) -> torch.Tensor:
    """Of Gemma's own vision tower [N, M, D], of uint8 images."""
    with torch.no_grad():
        pixels = (images_N3SS.float() / 127.5 - 1).to(gemma.dtype)
        found: torch.Tensor = gemma.model.get_image_features(pixels, return_dict=True).pooler_output
        return found


def with_table(gemma: Any, samples: list[WorldSample], device: torch.device) -> list[WorldSample]:
    """The samples with soft tokens in the place of pixels, and a Gemma that takes them as they are."""
    found = []
    for sample in samples:
        pixels = torch.from_numpy(sample.pixels).to(device=device, dtype=gemma.dtype)
        with torch.no_grad():
            soft = gemma.model.get_image_features(pixels, return_dict=True).pooler_output
        found.append(sample._replace(pixels=soft.float().cpu().numpy()))
    gemma.model.get_image_features = lambda soft, return_dict: SimpleNamespace(pooler_output=soft)
    return found


def compare(device: torch.device) -> None:
    """Raises Unequal unless both ways have the same loss in both modes, and unless other latents are noticed."""
    # Convolutions of one picture and of several would round otherwise in TF32.
    with torch.backends.cudnn.flags(allow_tf32=False):
        for case in TINY_CASES[:2]:
            _compare(case, device)


def _compare(case: Case, device: torch.device) -> None:
    vae = vae_of(TINY, device)
    samples = samples_of(TINY, case.samples, vae, device)
    gemma = gemma_of(TINY, device, torch.float32)
    reference = Reference(case, TINY, gemma_of(TINY, device, torch.float32), vae, device)
    model = TheWorld(gemma, reference.branch, TINY.layout(case.mode)).to_device(device)

    def loss(of: Samples) -> float:
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            found = forward_exact(model, pack(prepared(TINY, case.mode, of)), device)
        return float(found)

    # What the cache has rounded to fp16 is no part of the comparison of two ways.
    latents = latents_of(vae, torch.from_numpy(samples.world_image).to(device)).cpu().numpy()
    exact = Samples(ids=samples.ids, image=samples.image, world_image=samples.world_image, latents=latents)
    with torch.no_grad():
        wanted = float(reference.loss(samples))
    mine = loss(exact)
    if not abs(mine - wanted) <= TOLERANCE * abs(wanted):
        raise Unequal(f"{case.name}: loss {mine}, of the reference {wanted}: nothing is timed")
    # Latents of a VAE with random weights are all much alike.
    noise = np.random.default_rng(1).standard_normal(latents.shape).astype(np.float32)
    other = Samples(ids=exact.ids, image=exact.image, world_image=exact.world_image, latents=noise)
    if abs(loss(other) - wanted) <= TOLERANCE * abs(wanted):
        raise Unequal(f"{case.name}: other latents were not noticed: the comparison proves nothing")


def forward_exact(model: TheWorld, batch: WorldBatch, device: torch.device) -> torch.Tensor:
    """Mean cross-entropy in fp32, as ours computes it where nothing is cast."""
    found = model.hidden(batch, device)
    return torch.nn.functional.cross_entropy(model.head(found.hidden_AD).float(), found.targets_A)


def engine_of(case: Case, size: Size, gemma: Any, device: torch.device) -> WorldEngine:
    """As recipes.datacomp.training.job makes it, on one rank."""
    settings = EngineParameters(
        micro_batch=case.together, activation_checkpointing="full" if case.recomputes else "none"
    )
    model = TheWorld(gemma, branch_of(size, case.mode, gemma), size.layout(case.mode)).to_device(device)
    optimiser = optimiser_of(TRAINING, [name for name, weight in model.named_parameters() if weight.requires_grad])
    return WorldEngine(
        model,
        component_of=component_of,
        optimiser=optimiser,
        engine=settings,
        packs_per_step=case.samples,
        steps=10**12,
        forward=partial(forward, loss_chunk=settings.loss_chunk),
        ranks=join_ranks(1),
        group_settings=group_settings(optimiser),
    )


def flops_of(case: Case, size: Size) -> float:
    """FLOP of a sample; the VAE is not among them."""
    tokens, features = tokens_of(case.mode, size.latent)
    layers_everywhere = sum((number + 1) % size.global_every == 0 for number in range(size.layers))
    return step_flops(
        gemma3_projector_work(
            lengths=[size.length(case.mode)],
            answers=ANSWER,
            images=0 if case.soft_cached else 1,
            world_tokens=tokens,
            projector=(features + size.hidden) * size.hidden,
            shape=Transformer(
                layers=size.layers,
                hidden=size.hidden,
                heads=size.heads,
                kv_heads=size.kv_heads,
                head_dim=size.head_dim,
                ffn=size.ffn,
                gated=True,
                vocab=size.vocab,
            ),
            tower=Transformer(
                layers=size.vit_layers,
                hidden=size.vit_hidden,
                heads=size.vit_heads,
                kv_heads=size.vit_heads,
                head_dim=size.vit_hidden // size.vit_heads,
                ffn=size.vit_ffn,
                gated=False,
            ),
            global_layers=layers_everywhere,
            window=size.window,
            patches=(size.image // size.patch) ** 2,
        )
    )


def workload(case: Case, given: Given, device: torch.device) -> Workload:
    size = TINY if given.tiny else GEMMA3_4B
    dtype = torch.float32 if given.tiny else torch.bfloat16
    vae = vae_of(size, device)
    samples = samples_of(size, case.samples, vae, device)
    reference = Reference(case, size, gemma_of(size, device, dtype), vae, device)
    gemma = gemma_of(size, device, dtype)
    if given.compiled:
        compile_layers(gemma)
    mine = prepared(size, case.mode, samples)
    if case.soft_cached:
        mine = with_table(gemma, mine, device)
    engine = engine_of(case, size, gemma, device)
    parts = packed(mine, case.together)

    def ours() -> float:
        for number in range(given.per_round):
            engine.step(number, parts, float(case.samples * ANSWER))
        return float(given.per_round * case.samples)

    def theirs() -> float:
        for _ in range(given.per_round):
            reference.step(samples)
        return float(given.per_round * case.samples)

    turns: dict[str, Callable[[], float]] = {OURS: ours, REFERENCE: theirs}
    reports, peaks = in_turns(turns, device, rounds=given.rounds)
    figures = figures_of(reports, metric="wall_s")
    for name, figure in figures.items():
        flops = flops_of(case, size) if name == OURS or not case.soft_cached else None
        figure["extra"] = summary(
            figure["rate"], unit="samples/s", flops_per_unit=flops, device=name_of(device), peak_gb=peaks[name]
        )
    return {
        "name": f"{case.name}: {size.length(case.mode)} tokens a sample",
        "unit": "samples/s",
        "figures": figures,
        "targets": [
            at_least(f"{case.wanted:g} samples/s", case.wanted, figures[OURS]["rate"]),
            *judge(figures, [Target(peer=REFERENCE, ratio=2.0)]),
        ],
        "text_tokens": BEFORE + QUESTION + ANSWER,
        "soft_tokens_from_a_table": case.soft_cached,
    }


def measure(given: Given) -> list[Workload]:
    device = device_of(given.tiny)
    compare(device)
    found = []
    for case in TINY_CASES if given.tiny else CASES:
        found.append(workload(case, given, device))
        forget(device)
    return found


def main(argv: list[str] | None = None) -> int:
    return run("gpu_proj", __doc__, measure, argv, steps=10, packages=(*PACKAGES, "accelerate", "diffusers"))


if __name__ == "__main__":
    sys.exit(main())
