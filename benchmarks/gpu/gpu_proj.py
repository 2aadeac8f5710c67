"""G2: training TheWorld's projector in front of a frozen Gemma 3 4B, beside the loop that was published with it.

    python -m benchmarks.gpu.gpu_proj [--tiny] [--steps N] [--out FILE]

Packages beside trackyard's own: a CUDA build of torch, accelerate, diffusers. No hub access: random weights, random
pictures. The model is a stand-in (theworld_standin.py) with the dimensions of the real one. Ours: pictures encoded in
batches, our attention with block masks, logits at the answer only, the engine. The reference: transformers' device map,
one picture at a time through the VAE, the stock attention, logits of every token, AdamW of the projector. Both compute
activations again in spatial mode, where 4,096 world tokens leave no choice. First a tiny model in fp32 on the same
device must have the same loss both ways; latents of other pictures must be noticed. Targets: 6 (spatial), 30 (channel)
and 75 (channel, picture features and latents cached) samples/s, 2 times the reference, which caches nothing.
Source: performance spec sections 3, 5, 7, G2; theworld spec.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.device import compile_layers, device_of, forget, in_turns, name_of
from benchmarks.gpu.script import PACKAGES, Given, Workload, run, summary
from benchmarks.gpu.theworld_standin import (
    ANSWER,
    BEFORE,
    GEMMA3_4B,
    QUESTION,
    TINY,
    Mode,
    Projector,
    Samples,
    Size,
    TheWorldStandIn,
    component_of,
    embeddings_of,
    gemma_of,
    image_features,
    latents_of,
    samples_of,
    vae_of,
)
from benchmarks.harness import Target, Unequal, figures_of, judge
from benchmarks.limits import at_least
from trackyard.feed.visibility import Visibility
from trackyard.models.attention import attention_mask, mask_kind, packed_length, sent, use_masks
from trackyard.train.engine import Engine
from trackyard.train.flops import Transformer, gemma3_projector_work, step_flops
from trackyard.train.loss import AnswerLoss, answer_loss
from trackyard.train.parameters import ComponentRate, EngineParameters, OptimiserParameters
from trackyard.train.ranks import join_ranks

OURS, REFERENCE = "trackyard", "device map loop"
RATE, CLIP = 1e-4, 1.0
TOLERANCE = 1e-5
"""Relative difference of an fp32 loss."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A mode, samples of a step, how many of them at a time (ours, the reference), and the rate that is wanted."""

    name: str
    mode: Mode
    samples: int
    together: int
    naive: int
    wanted: float
    cached: bool = False

    @property
    def recomputes(self) -> bool:
        return self.mode == "spatial"


CASES = (
    Case(name="spatial", mode="spatial", samples=16, together=4, naive=2, wanted=6.0),
    Case(name="channel", mode="channel", samples=64, together=32, naive=4, wanted=30.0),
    Case(name="channel, cached", mode="channel", samples=64, together=32, naive=4, wanted=75.0, cached=True),
)
TINY_CASES = tuple(
    Case(name=case.name, mode=case.mode, samples=2, together=2, naive=1, wanted=case.wanted, cached=case.cached)
    for case in CASES
)


def projector_of(size: Size, mode: Mode, device: torch.device) -> Projector:
    torch.manual_seed(1)
    return Projector(size, mode).to(device)


class Ours:
    """Our way: what does not change is prepared once, what is frozen runs in batches."""

    def __init__(self, size: Size, mode: Mode, gemma: Any, vae: Any, device: torch.device) -> None:
        self._size, self._mode, self._vae, self._device = size, mode, vae, device
        self._masks: dict[int, Any] = {}
        use_masks(gemma, mask_kind(device))

    def loss(self, model: Any, part: Samples) -> AnswerLoss:
        gemma, device = model.gemma, self._device
        count = len(part.ids)
        if part.features is None or part.latents is None:
            features = image_features(gemma, sent(part.image, device))
            latents = latents_of(self._vae, sent(part.world_image, device))
        else:
            features, latents = sent(part.features, device), sent(part.latents, device)
        embeddings = embeddings_of(gemma, sent(part.ids, device), features, model.projector(latents))
        length = embeddings.shape[1]
        whole = packed_length(gemma, length, None)
        embeddings = torch.nn.functional.pad(embeddings, (0, 0, 0, whole - length))
        hidden = gemma.model.language_model(
            inputs_embeds=embeddings,
            attention_mask=self._mask(gemma, count, whole),
            position_ids=torch.arange(whole, device=device)[None],
            use_cache=False,
        ).last_hidden_state
        answers = hidden[:, length - ANSWER - 1 : length - 1].flatten(0, 1)
        targets = sent(part.ids[:, -ANSWER:].flatten(), device)
        return answer_loss(answers, gemma.lm_head, targets, torch.ones(len(targets), device=device))

    def _mask(self, gemma: Any, count: int, whole: int) -> Any:
        """By kind of layer; the tokens of the picture see each other, padding at the end sees itself."""
        if count not in self._masks:
            at, size = np.arange(whole)[None].repeat(count, axis=0), self._size
            inside = at < size.length(self._mode)
            picture = (at >= 1) & (at < 1 + size.image_tokens)
            visibility = Visibility.of(np.zeros_like(at), np.where(inside, 0, -1), picture)
            window = gemma.config.text_config.sliding_window
            self._masks[count] = {
                "full_attention": attention_mask(gemma, visibility, self._device),
                "sliding_attention": attention_mask(gemma, visibility, self._device, window=window),
            }
        return self._masks[count]


class Reference:
    """The published way, on one device."""

    def __init__(self, case: Case, size: Size, gemma: Any, vae: Any, device: torch.device) -> None:
        from accelerate import dispatch_model

        self._case, self._size, self._vae, self._device = case, size, vae, device
        gemma.set_attn_implementation("sdpa")
        gemma.requires_grad_(False)
        if case.recomputes:
            gemma.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        gemma.train()
        where: Any = "cpu" if device.type == "cpu" else 0
        self._gemma = dispatch_model(gemma, device_map={"": where}, force_hooks=True)
        self.projector = projector_of(size, case.mode, device)
        self._optimizer = torch.optim.AdamW(self.projector.parameters(), lr=RATE)

    def loss(self, part: Samples) -> Any:
        device = self._device
        latents = torch.cat([latents_of(self._vae, torch.from_numpy(one[None]).to(device)) for one in part.world_image])
        features = image_features(self._gemma, torch.from_numpy(part.image).to(device))
        ids = torch.from_numpy(part.ids).to(device)
        embeddings = embeddings_of(self._gemma, ids, features, self.projector(latents))
        types = torch.zeros(embeddings.shape[:2], dtype=torch.long, device=device)
        types[:, 1 : 1 + self._size.image_tokens] = 1
        labels = torch.full_like(types, -100)
        labels[:, -ANSWER:] = ids[:, -ANSWER:]
        return self._gemma(inputs_embeds=embeddings, token_type_ids=types, labels=labels, use_cache=False).loss

    def step(self, samples: Samples) -> None:
        count = self._case.naive
        self._optimizer.zero_grad()
        for at in range(0, self._case.samples, count):
            loss = self.loss(samples.part(slice(at, at + count)))
            (loss * count / self._case.samples).backward()
        torch.nn.utils.clip_grad_norm_(self.projector.parameters(), CLIP)
        self._optimizer.step()


def compare(device: torch.device) -> None:
    """Raises Unequal unless both ways have the same loss in both modes, and unless other latents are noticed."""
    # Convolutions of one picture and of several would round otherwise in TF32.
    with torch.backends.cudnn.flags(allow_tf32=False):
        for case in TINY_CASES[:2]:
            _compare(case, device)


def _compare(case: Case, device: torch.device) -> None:
    vae, samples = vae_of(TINY, device), samples_of(TINY, case.samples)
    gemma = gemma_of(TINY, device, torch.float32)
    reference = Reference(case, TINY, gemma_of(TINY, device, torch.float32), vae, device)
    way, model = Ours(TINY, case.mode, gemma, vae, device), TheWorldStandIn(gemma, reference.projector)

    def loss(of: Samples, way: Ours = way, model: Any = model) -> float:
        with torch.no_grad():
            return float(way.loss(model, of).cross_entropy.mean())

    with torch.no_grad():
        wanted = float(reference.loss(samples))
    mine = loss(samples)
    if not abs(mine - wanted) <= TOLERANCE * abs(wanted):
        raise Unequal(f"{case.name}: loss {mine}, of the reference {wanted}: nothing is timed")
    other = Samples(ids=samples.ids, image=samples.image, world_image=samples.world_image[::-1].copy())
    if abs(loss(other) - wanted) <= TOLERANCE * abs(wanted):
        raise Unequal(f"{case.name}: other latents were not noticed: the comparison proves nothing")


def engine_of(case: Case, size: Size, gemma: Any, vae: Any, device: torch.device, *, tiny: bool) -> Engine:
    parameters = EngineParameters(
        micro_batch=case.together,
        precision="fp32" if tiny else "bf16",
        zero_stage=0 if tiny else 1,
        activation_checkpointing="full" if case.recomputes else "none",
    )
    rates = {
        name: ComponentRate(learning_rate=rate, warmup_steps=0) for name, rate in (("world", RATE), ("gemma", 0.0))
    }
    return Engine(
        TheWorldStandIn(gemma, projector_of(size, case.mode, device)),
        component_of=component_of,
        optimiser=OptimiserParameters(rates=rates, clip_norm=CLIP),
        engine=parameters,
        packs_per_step=case.samples,
        steps=10**12,
        forward=Ours(size, case.mode, gemma, vae, device).loss,
        ranks=join_ranks(1),
    )


def flops_of(case: Case, size: Size) -> float:
    """FLOP of a sample; the VAE is not among them."""
    world, features = size.world(case.mode)
    layers_everywhere = sum((number + 1) % size.global_every == 0 for number in range(size.layers))
    return step_flops(
        gemma3_projector_work(
            lengths=[size.length(case.mode)],
            answers=ANSWER,
            images=0 if case.cached else 1,
            world_tokens=world,
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
    vae, samples = vae_of(size, device), samples_of(size, case.samples)
    reference = Reference(case, size, gemma_of(size, device, dtype), vae, device)
    gemma = gemma_of(size, device, dtype)
    if given.compiled:
        compile_layers(gemma)
    engine = engine_of(case, size, gemma, vae, device, tiny=given.tiny)
    mine = cached(samples, gemma, vae, device) if case.cached else samples
    parts = [mine.part(slice(at, at + case.together)) for at in range(0, case.samples, case.together)]

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
        flops = flops_of(case, size) if name == OURS or not case.cached else None
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
        "stand_in": True,
    }


def cached(samples: Samples, gemma: Any, vae: Any, device: torch.device) -> Samples:
    """The same with what a cache would hold, computed beforehand."""
    latents, features = [], []
    for number in range(len(samples.ids)):
        one = samples.part(slice(number, number + 1))
        latents.append(latents_of(vae, sent(one.world_image, device)).half().cpu())
        features.append(image_features(gemma, sent(one.image, device)).cpu())
    return Samples(
        ids=samples.ids,
        image=samples.image,
        world_image=samples.world_image,
        latents=torch.cat(latents),
        features=torch.cat(features),
    )


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
