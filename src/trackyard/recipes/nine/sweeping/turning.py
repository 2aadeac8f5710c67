"""A model with its knobs where a configuration wants them. Source: nine-datasets spec section 5."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from torch import nn

from trackyard.evaluate.sweep.configuration import Configuration
from trackyard.models.expert_routing import routed
from trackyard.models.knobs import kept_blocks


@contextmanager
def turned(model: nn.Module, configuration: Configuration) -> Iterator[None]:
    """Blocks and experts as the configuration says while the context is open; the visual knob is one of prompts."""
    with ExitStack() as stack:
        if configuration.blocks is not None:
            stack.enter_context(kept_blocks(model, configuration.blocks))
        if configuration.experts is not None:
            stack.enter_context(routed(model, configuration.experts))
        yield
