"""World tokens start at the size of the model's own text, and a soft prompt knows no picture."""

from __future__ import annotations

from typing import get_args

import pytest
import torch

from tests.feed.gemma_tokenizer import gemma_tokenizer
from tests.models.theworld.tiny import LATENT, WIDTH, gemma
from trackyard.errors import ConfigError
from trackyard.models.theworld.branch import PROMPTS, SoftPrompt, WorldBranch, between, image_markers, r_text
from trackyard.models.theworld.parameters import Mode, ProjectorKind, WorldParameters, expected_trainable

GEMMA = gemma()
SCALE = r_text(GEMMA, gemma_tokenizer())


def rms(of: torch.Tensor) -> float:
    return float(of.detach().square().mean().sqrt())


def counts(module: torch.nn.Module) -> dict[str, int]:
    return {f"world.{name}": weight.numel() for name, weight in module.named_parameters()}


def test_the_scale_is_that_of_scaled_text_embeddings() -> None:
    assert len(PROMPTS) == len(set(PROMPTS)) == 64
    table, ids = GEMMA.get_input_embeddings(), gemma_tokenizer()("\n".join(PROMPTS), add_special_tokens=False)
    # Scaled by the root of the width, as Gemma reads it.
    expected = rms(table.weight[torch.tensor(ids["input_ids"])] * WIDTH**0.5)
    assert pytest.approx(expected, rel=0.1) == SCALE
    assert rms(table.weight) * 3 < SCALE


@pytest.mark.parametrize("kind", get_args(ProjectorKind))
@pytest.mark.parametrize("mode", get_args(Mode))
def test_tokens_start_at_the_size_of_text(mode: Mode, kind: ProjectorKind) -> None:
    parameters = WorldParameters(mode=mode, projector=kind)
    branch = WorldBranch.initial(parameters, LATENT, GEMMA, SCALE, 3)
    tokens = branch(torch.randn(3, *LATENT).half())
    assert tokens.dtype == torch.float32
    assert tokens.shape == (3, branch.tokens, WIDTH)
    assert abs(rms(tokens) / SCALE - 1) < 0.05
    assert counts(branch) == expected_trainable(parameters, LATENT, WIDTH)
    torch.testing.assert_close(branch.boundaries.detach(), image_markers(GEMMA))
    assert set(branch.state_dict()) == set(dict(branch.named_parameters()))


def test_a_gate_starts_closed() -> None:
    parameters = WorldParameters(mode="pooled4", fusion="add")
    branch = WorldBranch.initial(parameters, LATENT, GEMMA, SCALE, 3)
    latents = torch.randn(2, *LATENT)
    assert (branch(latents) == 0).all()
    assert counts(branch) == expected_trainable(parameters, LATENT, WIDTH)
    with torch.no_grad():
        branch.alpha.fill_(1.0)
    assert rms(branch(latents)) == pytest.approx(SCALE, rel=0.05)


def test_a_seed_decides_the_projector_and_leaves_the_global_source_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, two, other = (WorldBranch.initial(WorldParameters(), LATENT, GEMMA, SCALE, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(one.projector[0].weight, two.projector[0].weight)  # type: ignore[arg-type]
    assert not torch.equal(one.projector[0].weight, other.projector[0].weight)  # type: ignore[arg-type]


def test_latents_of_another_shape_are_refused() -> None:
    branch = WorldBranch.initial(WorldParameters(), LATENT, GEMMA, SCALE, 1)
    # As many numbers, and tiled as well: nothing but the check would notice.
    with pytest.raises(ConfigError, match=r"latents of shape \(16, 32, 8\)"):
        branch(torch.randn(1, 16, 32, 8))


def test_a_soft_prompt_is_its_vectors_only() -> None:
    prompt = SoftPrompt.initial(WorldParameters(), LATENT, GEMMA, SCALE, 3)
    assert list(prompt.state_dict()) == ["vectors"]
    assert not prompt.boundaries.requires_grad
    assert counts(prompt) == expected_trainable(WorldParameters(), LATENT, WIDTH, soft_prompt=True)
    latents = torch.randn(3, *LATENT)
    assert torch.equal(prompt(latents), prompt(-latents))
    assert rms(prompt(latents)) == pytest.approx(SCALE, rel=0.02)
    with pytest.raises(ConfigError, match="soft_prompt with world"):
        SoftPrompt.initial(WorldParameters(mode="pooled4", fusion="add"), LATENT, GEMMA, SCALE, 3)


def test_a_soft_prompt_learns_at_the_projectors_rate() -> None:
    """A control that hardly moves would prove nothing: share of the tokens' size that one step of Adam moves them."""
    latents, target = torch.randn(1, *LATENT), torch.randn(1, 4, WIDTH)
    moved = []
    for kind in (WorldBranch, SoftPrompt):
        branch = kind.initial(WorldParameters(), LATENT, GEMMA, SCALE, 3)
        optimiser = torch.optim.Adam(branch.parameters(), lr=1e-4)
        before = branch(latents).detach()
        (branch(latents) * target).sum().backward()
        optimiser.step()
        moved.append(rms(branch(latents).detach() - before) / rms(before))
    assert moved[1] == pytest.approx(1e-2, rel=0.2)
    assert moved[0] < 50 * moved[1], "vectors of their final size: a thousand times"


def test_a_block_is_its_tokens_between_the_boundaries() -> None:
    boundaries, tokens = torch.rand(2, 4), torch.rand(3, 5, 4)
    block = between(boundaries, tokens)
    assert torch.equal(block[:, 1:-1], tokens)
    assert all(torch.equal(one[0], boundaries[0]) and torch.equal(one[-1], boundaries[1]) for one in block)
