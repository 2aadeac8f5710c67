"""A branch of a tree is what it would be as a sequence of its own."""

from __future__ import annotations

import torch

from tests.feed.gemma_tokenizer import gemma_tokenizer
from tests.models.theworld.tiny import SOFT, gemma
from trackyard.feed.tree import NO_TARGET
from trackyard.feed.world_prompts import WorldPrompts
from trackyard.recipes.datacomp.base.lesson_trees import tree

ASKED = (("What?", "a ball"), ("Is it red?", "it is blue"), ("Describe this image simply.", "a red ball"))


def test_branches_are_sequences_of_their_own() -> None:
    model = gemma()
    language = model.model.language_model
    for tokens in (4, 0):
        prompts = WorldPrompts(gemma_tokenizer(), image_tokens=SOFT, world_tokens=tokens)
        own = [prompts.build(question, answer=answer) for question, answer in ASKED]
        trees = tree([own, own[:1]])
        sees = torch.from_numpy(trees.sees)[:, None]
        with torch.no_grad():
            hidden = language(
                input_ids=torch.from_numpy(trees.input_ids),
                position_ids=torch.from_numpy(trees.positions),
                attention_mask={"full_attention": sees, "sliding_attention": sees},
                use_cache=False,
            ).last_hidden_state
        for number, prompt in enumerate(own):
            alone = tree([[prompt]])
            mask = torch.from_numpy(alone.sees)[:, None]
            with torch.no_grad():
                expected = language(
                    input_ids=torch.from_numpy(prompt.input_ids)[None],
                    attention_mask={"full_attention": mask, "sliding_attention": mask},
                    use_cache=False,
                ).last_hidden_state
            at = trees.branches[0] == number
            torch.testing.assert_close(hidden[0, at], expected[0, -int(at.sum()) :], atol=1e-4, rtol=1e-4)
            learned = trees.targets[0, at]
            assert learned[learned != NO_TARGET].tolist() == prompt.labels[prompt.labels != NO_TARGET].tolist()
        assert (trees.targets[0] != NO_TARGET).sum() == sum((one.labels != NO_TARGET).sum() for one in own)


def test_places_of_the_picture_and_of_the_words() -> None:
    prompts = WorldPrompts(gemma_tokenizer(), image_tokens=SOFT, world_tokens=4)
    own = prompts.build("What?", answer="a ball")
    trees = tree([[own]])
    assert len(trees.image) == SOFT
    ids = own.input_ids[trees.blocks].tolist()
    assert ids == [prompts.layout.start_id, *[prompts.layout.world_id] * 4, prompts.layout.end_id]
