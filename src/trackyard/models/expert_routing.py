"""How many experts a token is sent to. Source: nine-datasets spec section 5 (knob `experts`).

Stock routers copy the number from the configuration when they are built, so the attribute of each router is what acts;
configurations are changed as well because exports and other code read them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from trackyard.errors import ConfigError
from trackyard.models.knobs import decoder_blocks

ROUTED, OFFERED, CONFIGURED = "top_k", "num_experts", "num_experts_per_tok"
"""Experts per token and experts there are, of a router; experts per token, of a configuration."""


def expert_count(model: nn.Module) -> int | None:
    """Experts that a router chooses from, the same in all blocks; None for a dense model.

    ConfigError where blocks differ, or where a block with experts has no router or several that can be told.
    """
    routers = _routers(model)
    return _number(routers[0], OFFERED) if routers else None


@contextmanager
def routed(model: nn.Module, k: int) -> Iterator[None]:
    """Send every token to `k` experts while the context is open; afterwards the model is as it was.

    ConfigError for a dense model, a k outside 1 … `expert_count(model)`, or as `expert_count`.
    """
    routers = _routers(model)
    offered = _number(routers[0], OFFERED) if routers else 0
    if not 1 <= k <= offered:
        raise ConfigError(
            what=f"{k} experts per token in a {type(model).__name__} that has {offered or 'no'} routed experts",
            why="the knob would do nothing, or ask for experts that are not there",
            fix=f"choose 1 to {offered}" if routers else "leave the knob `experts` out of the lists for this model",
        )
    holders: list[tuple[Any, str]] = [(router, ROUTED) for router in routers]
    holders += [(config, CONFIGURED) for config in _configurations(model)]
    earlier = [getattr(holder, name) for holder, name in holders]
    try:
        for holder, name in holders:
            setattr(holder, name, k)
        yield
    finally:
        for (holder, name), value in zip(holders, earlier, strict=True):
            setattr(holder, name, value)


def _routers(model: nn.Module) -> list[nn.Module]:
    """One router of each block with experts, in order."""
    blocks = decoder_blocks(model)
    found = [[part for part in block.modules() if _is_router(part)] for block in blocks]
    wanted = [any(name.split(".")[-1] == "experts" for name, _ in block.named_modules()) for block in blocks]
    odd = [number for number, each in enumerate(found) if len(each) != int(wanted[number])]
    routers = [router for each in found for router in each]
    settings = {(_number(router, OFFERED), _number(router, ROUTED)) for router in routers}
    if odd or len(settings) > 1:
        raise ConfigError(
            what=f"routers of a {type(model).__name__}: "
            + (f"not one for each block with experts, at blocks {odd}" if odd else f"settings differ: {settings}"),
            why="a router that is overlooked would keep its own number of experts, and the level would be a mixture",
            fix=f"leave the knob `experts` out, or give each block one router with {ROUTED} and {OFFERED}",
        )
    return routers


def _is_router(part: nn.Module) -> bool:
    return isinstance(getattr(part, ROUTED, None), int) and isinstance(getattr(part, OFFERED, None), int)


def _number(router: nn.Module, name: str) -> int:
    return int(getattr(router, name))


def _configurations(model: nn.Module) -> list[Any]:
    """Every configuration that states the number: the model's own, and those that blocks brought with them."""
    stock: Any = model
    own = [stock.config, stock.config.get_text_config(decoder=True)]
    own += [part.config for block in decoder_blocks(model) for part in block.modules() if hasattr(part, "config")]
    distinct = {id(config): config for config in own}
    return [config for config in distinct.values() if isinstance(getattr(config, CONFIGURED, None), int)]
