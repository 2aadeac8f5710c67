"""Arms: which weights each has, what its branch is given, and that an export that is not there is never replaced."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from tests.recipes.datacomp.evaluating.small_study import FACTS, train_again
from trackyard.errors import CheckpointError, IdentityError
from trackyard.models.theworld.branch import SoftPrompt, WorldBranch
from trackyard.recipes.datacomp.cells import ARMS, Cell
from trackyard.recipes.datacomp.evaluating.arms import Armed, load_arm
from trackyard.recipes.datacomp.evaluating.items import pictures_of
from trackyard.recipes.datacomp.study import Study


def arm(study: Study, name: str, seed: int = 42) -> Armed:
    return load_arm(study, Cell(name=name, seed=seed if ARMS[name].seeded else None))


def weights(armed: Armed) -> torch.Tensor:
    assert isinstance(armed.model.world, WorldBranch)
    return armed.model.world.projector[0].weight


def test_which_weights_an_arm_has(study: Study) -> None:
    trained, drawn = arm(study, "world"), arm(study, "random_projection")
    for name in ("zero_latents", "shuffled_latents"):
        assert torch.equal(weights(arm(study, name)), weights(trained))
    assert not torch.equal(weights(drawn), weights(trained))
    # As training of this seed begins, which the export of another seed is by construction.
    assert torch.equal(weights(arm(study, "random_projection", 43)), weights(trained))
    assert not torch.equal(weights(arm(study, "world", 1337)), weights(trained))
    assert isinstance(arm(study, "soft_prompt").model.world, SoftPrompt)
    for name in ("base_gemma", "no_world_tokens"):
        off = arm(study, name)
        assert off.model.world is None
        assert off.prompts.layout.world_tokens == 0
        assert off.latents is off.true is None


def test_what_an_arm_gives_its_branch(study: Study) -> None:
    names = pictures_of(study.items("vsr"))
    given = {}
    for name in ("world", "zero_latents", "shuffled_latents"):
        armed = arm(study, name)
        assert armed.latents is not None
        assert armed.true is not None
        given[name] = armed.latents(names).of(names)
        assert np.array_equal(armed.true(names).of(names), given["world"])
    assert given["world"].shape == (len(names), *FACTS.shape)
    assert not given["zero_latents"].any()
    own, other = (given[name].reshape(len(names), -1) for name in ("world", "shuffled_latents"))
    assert not (own == other).all(axis=1).any()
    assert sorted(map(bytes, own)) == sorted(map(bytes, other))


def test_nothing_of_a_loaded_arm_is_trained(study: Study) -> None:
    model = arm(study, "world").model
    assert not any(weight.requires_grad for weight in (*model.parameters(), *model.gemma.parameters()))
    assert not model.training


def test_an_export_that_is_absent_or_another_study_s_is_refused(study: Study) -> None:
    shutil.rmtree(study.export(Cell(name="world", seed=42)))
    for name in ("world", "zero_latents", "no_world_tokens"):
        with pytest.raises(CheckpointError, match="never replaced by fresh ones"):
            arm(study, name)
    changed = study.parameters.model_copy(
        update={"world": study.parameters.world.model_copy(update={"placement": "before_text"})}
    )
    with pytest.raises(IdentityError, match="placement"):
        load_arm(Study(root=study.root, parameters=changed), Cell(name="world", seed=1337))


def test_what_was_thawed_stays_with_the_run_and_its_controls(study: Study) -> None:
    """A vision tower that was trained too: `no_world_tokens` has it, `base_gemma` and what is only drawn do not."""
    training = study.parameters.training.model_copy(update={"thawed_rates": {"gemma_vision": 1e-5}})
    own = Study(root=study.root, parameters=study.parameters.model_copy(update={"training": training}))
    train_again(own, Cell(name="world", seed=42), thaw=("gemma_vision",))

    def bias(name: str) -> torch.Tensor:
        found: torch.Tensor = arm(own, name).model.gemma.model.vision_tower.post_layernorm.bias
        return found

    for name in ("world", "no_world_tokens", "zero_latents"):
        assert (bias(name) == 5).all()
    for name in ("base_gemma", "random_projection"):
        assert not (bias(name) == 5).any()
    # An export without what the study says was thawed is not loaded as if it were whole.
    with pytest.raises(CheckpointError, match=r"thawed\.gemma_vision.* is missing"):
        arm(own, "world", 1337)
