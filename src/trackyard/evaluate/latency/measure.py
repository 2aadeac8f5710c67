"""One answer at batch 1, timed by its parts. Source: nine-datasets spec section 7.

    pre       make_prompt: decode, resize, tokenise
    vision    subject.embeddings: vision tower, connector
    prefill   subject.first: the language model over the prompt, until the first logits are ready
    decode    every later token: its predecessor is run, and it is chosen
    total     from the beginning of vision to the last token, by readings of its own

The first token is read between prefill and decode. Reading it waits for the device, so work that no earlier mark waited
for ends up there, in no part and in the total: such a sample is invalid instead of wrong.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from trackyard.errors import ConfigError
from trackyard.evaluate.answering.cache import new_cache
from trackyard.evaluate.answering.lane import Lane
from trackyard.evaluate.answering.prompt import Prompt
from trackyard.evaluate.answering.subject import Subject
from trackyard.evaluate.latency.marks import Clock, Marks, synchroniser
from trackyard.evaluate.latency.timing import Timing


@torch.inference_mode()
def measure(
    subject: Subject,
    make_prompt: Callable[[], Prompt],
    new_tokens: int,
    forced: bool,
    *,
    synchronise: Callable[[], None] | None = None,
    clock: Clock = time.perf_counter,
) -> Timing:
    """Answer one question greedily and time it.

    new_tokens: the most there may be; with `forced` exactly so many, because end tokens are never chosen. synchronise:
    waits for the device; by default what the subject's device needs. ConfigError for no tokens, or an unknown device.
    """
    if new_tokens < 1:
        raise ConfigError(
            what=f"an answer of {new_tokens} tokens is to be timed",
            why="without a first token there is no prefill to be measured",
            fix="set new_tokens of the task, or nine.latency.forced_tokens in params.yaml, to a positive number",
        )
    marks = Marks(synchronise or synchroniser(subject.device), clock)
    banned = torch.tensor(sorted(subject.eos) if forced else [], dtype=torch.long, device=subject.device)
    cache, tokens = new_cache(), list[int]()
    with marks.span("pre"):
        prompt = make_prompt()
    with marks.span("total"):
        with marks.span("vision"):
            embeddings = subject.embeddings([prompt])
        with marks.span("prefill"):
            logits = subject.first([prompt], embeddings, cache)
        chosen = _choose(logits, banned)
        tokens.append(int(chosen))
        if not _ended(tokens, subject, new_tokens, forced):
            with marks.span("decode"):
                lane = _lane(subject, prompt, cache)
                while not _ended(tokens, subject, new_tokens, forced):
                    lane.chosen = chosen
                    chosen = _choose(lane.step(subject), banned)
                    tokens.append(int(chosen))
    return Timing(
        t_pre_ms=marks.ms("pre"),
        t_vision_ms=marks.ms("vision"),
        t_prefill_ms=marks.ms("prefill"),
        t_decode_ms=marks.ms("decode"),
        t_total_ms=marks.ms("total"),
        n_visual=prompt.visual_tokens,
        n_prompt=len(prompt),
        tokens=tuple(tokens),
    )


def _ended(tokens: list[int], subject: Subject, new_tokens: int, forced: bool) -> bool:
    return len(tokens) >= new_tokens or (not forced and tokens[-1] in subject.eos)


def _lane(subject: Subject, prompt: Prompt, cache: Any) -> Lane:
    """The one row, read up to the end of its prompt."""
    return Lane(
        cache=cache,
        mask=torch.ones(1, len(prompt), dtype=torch.bool, device=subject.device),
        positions=torch.tensor([len(prompt)], device=subject.device),
        chosen=torch.zeros(1, dtype=torch.long, device=subject.device),
    )


def _choose(logits: torch.Tensor, banned: torch.Tensor) -> torch.Tensor:
    """[1], the likeliest token of [1, V] that is not banned."""
    if len(banned):
        logits = logits.index_fill(1, banned, -torch.inf)
    return logits.argmax(dim=-1)
