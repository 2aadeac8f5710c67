"""Row 9: the audit passes a branch that is connected, and stops one that is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.models.theworld.tiny import world
from tests.recipes.datacomp.evaluating.asked import asker, items_of
from trackyard.errors import ConfigError
from trackyard.models.theworld.model import TheWorld
from trackyard.models.theworld.parameters import WorldParameters
from trackyard.recipes.datacomp.evaluating.branch_audit import (
    LEAST,
    PICTURES,
    BranchDisconnected,
    audit_branch,
    audit_items,
    require_reads,
)
from trackyard.recipes.datacomp.evaluating.items import Item

PARAMETERS = WorldParameters()


class Disconnected(TheWorld):
    """Reads the latents, and puts the same into the prompt whatever they are."""

    def _world_tokens(self, batch, device):  # type: ignore[no-untyped-def]
        found = super()._world_tokens(batch, device)
        return torch.ones_like(found)


def several() -> list[Item]:
    """One item about two pictures, two about one."""
    items = items_of("blink", 4)
    return [replace(items[0], images=(items[0].images[0], items[1].images[0])), *items[2:]]


@pytest.mark.parametrize(
    "parameters",
    [
        PARAMETERS,
        WorldParameters(placement="before_text"),
        WorldParameters(mode="stats"),
        WorldParameters(block="bidirectional"),
    ],
    ids=lambda parameters: f"{parameters.mode}-{parameters.placement}-{parameters.block}",
)
def test_a_connected_branch_moves_the_first_token(parameters: WorldParameters) -> None:
    body = audit_branch(asker(parameters), several())
    assert body["branch"] == "connected"
    assert (body["items"], body["images"], body["latent_reads"]) == (3, 4, 4)
    assert body["moves"].keys() == {"another", "zeros", "noise"}
    assert min(body["moves"].values()) > LEAST


def test_a_disconnected_branch_is_stopped() -> None:
    made, builder = world(PARAMETERS)
    broken = Disconnected(made.gemma, made.world, builder.layout).eval()
    with pytest.raises(BranchDisconnected, match=r"at most 0.0001 with another latent: another 0.00e\+00, zeros"):
        audit_branch(asker(model=broken), several())


def test_a_branch_whose_gain_is_gone_is_stopped() -> None:
    asked = asker()
    asked.model.world.gamma.data.zero_()  # type: ignore[union-attr]
    with pytest.raises(BranchDisconnected):
        audit_branch(asked, several())


def test_a_branch_that_is_not_called_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = asker()
    tokens = kept.model.world(torch.from_numpy(np.concatenate([s.latents for s in kept.samples(several())])))  # type: ignore[misc, arg-type]
    monkeypatch.setattr(TheWorld, "_world_tokens", lambda self, batch, device: tokens[: batch.images])
    with pytest.raises(BranchDisconnected, match="4 latents were handed over and 0 read for 4 pictures"):
        audit_branch(kept, several())


def test_a_missing_latent_is_refused_before_anything_is_compared() -> None:
    asked = asker()
    asked.latents = None
    with pytest.raises(ConfigError, match="no latents for"):
        audit_branch(asked, several())


def test_the_branch_off_reads_nothing() -> None:
    body = audit_branch(asker(None), several())
    assert (body["branch"], body["latent_reads"], body["moves"]) == ("off", 0, {})


def test_free_vectors_do_not_move_and_one_that_did_would_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    body = audit_branch(asker(soft_prompt=True), several())
    assert body["branch"] == "free vectors"
    assert set(body["moves"].values()) == {0.0}
    asked = asker(soft_prompt=True)
    honest = type(asked.model.world).forward
    monkeypatch.setattr(
        type(asked.model.world),
        "forward",
        lambda self, latents: honest(self, latents) * (1 + latents.float().mean(dim=(1, 2, 3))[:, None, None]),
    )
    with pytest.raises(BranchDisconnected, match="free vectors, and logits move"):
        audit_branch(asked, several())


def test_a_gate_that_is_closed_moves_nothing_and_one_that_is_open_must() -> None:
    gated = WorldParameters(mode="pooled4", fusion="add")
    closed = asker(gated)
    assert audit_branch(closed, several())["branch"] == "gate closed"
    closed.model.world.alpha.data.fill_(0.5)  # type: ignore[union-attr]
    assert audit_branch(closed, several())["branch"] == "connected"


def test_items_of_an_audit_share_no_picture() -> None:
    items = items_of("blink", 12)
    again = [items[0], items[0], *items[1:]]
    found = audit_items(iter(again))
    assert len(found) == PICTURES
    assert len({name for item in found for name in item.pictures}) == PICTURES


@pytest.mark.parametrize(("passes", "good"), [(1, True), (2, False), (0, False)])
def test_reads_of_a_set_are_counted(passes: int, good: bool) -> None:
    asked = asker()
    audit_branch(asked, several())
    read, given = asked.model.images_read, asked.latents.given  # type: ignore[union-attr]
    asked.samples(several())
    asked.model.images_read += 4
    if good:
        assert require_reads(asked, 4, passes=passes, read=read, given=given) == 4
    else:
        with pytest.raises(BranchDisconnected, match="4 latents were handed over and 4 read"):
            require_reads(asked, 4, passes=passes, read=read, given=given)
