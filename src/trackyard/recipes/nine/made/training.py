"""Train the small model on rows of the fixture, and write it in the Hugging Face layout.

Plain AdamW in one process, in fp32: it is a means to have something whose answers are right more often than by chance.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trackyard.durable import atomic_directory
from trackyard.feed.frames import VideoParameters
from trackyard.models.expert_routing import routed
from trackyard.models.knobs import kept_blocks
from trackyard.models.routed_molmo2 import RoutedMolmo2
from trackyard.publish.export import write_export
from trackyard.recipes.molmo2.forward import forward
from trackyard.recipes.nine.made.model import made_tokens, random_made
from trackyard.recipes.nine.made.parameters import MadeModelParameters
from trackyard.recipes.nine.made.rows import Lessons
from trackyard.row import Row

WARMUP, CLIP = 30, 1.0
"""Steps up to the full rate, which then falls to 0; largest norm of a gradient."""
BETAS = (0.9, 0.98)


def make_model(
    folder: Path, rows: Sequence[Row], parameters: MadeModelParameters, *, say: Callable[[str], None]
) -> dict[str, Any]:
    """Train on the rows and write `folder`, which must not exist: model, tokenizer and preprocessing.

    Returns steps, first and last loss (nats a token, means over a tenth of the steps) and seconds of the processor.
    """
    began = time.process_time()
    tokens = made_tokens(rows, parameters)
    model = random_made(parameters, tokens)
    losses = train(model, Lessons(rows, tokens, parameters), parameters, say)
    with atomic_directory(folder) as partial:
        write_export(partial, model, tokens, parameters.geometry, VideoParameters())
    tenth = max(1, len(losses) // 10)
    return {
        "steps": len(losses),
        "first_loss": float(np.mean(losses[:tenth])) if losses else None,
        "last_loss": float(np.mean(losses[-tenth:])) if losses else None,
        "cpu_s": time.process_time() - began,
    }


def train(
    model: RoutedMolmo2, lessons: Lessons, parameters: MadeModelParameters, say: Callable[[str], None]
) -> list[float]:
    """Loss of every step, in nats a token."""
    steps, weights = parameters.steps, list(model.parameters())
    optimiser = torch.optim.AdamW(weights, lr=parameters.learning_rate, betas=BETAS, weight_decay=0.0, fused=True)
    losses: list[float] = []
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = parameters.learning_rate * min(1.0, (step + 1) / WARMUP) * (1 - step / steps)
        lesson = lessons.lesson(step)
        with routed(model, lesson.routes), kept_blocks(model, lesson.blocks):
            loss = forward(model, lessons.batch(lesson))
        (loss.total / loss.weight.sum()).backward()
        torch.nn.utils.clip_grad_norm_(weights, CLIP)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        losses.append(float((loss.cross_entropy * loss.weight).sum() / loss.weight.sum()))
        if (step + 1) % max(1, steps // 4) == 0:
            say(f"made      step {step + 1:,} of {steps:,}: {np.mean(losses[-50:]):.3f} nats a token")
    return losses
