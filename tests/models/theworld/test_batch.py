"""Samples behind each other and beside each other: every array says the same of every sample."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.models.theworld.tiny import prompts, samples
from trackyard.models.theworld.batch import WorldBatch, WorldSample, left_padded, pack
from trackyard.models.theworld.parameters import WorldParameters

BUILDERS = {block: prompts(WorldParameters(block=block)) for block in ("causal", "bidirectional")}
COUNTS = st.lists(st.integers(1, 3), min_size=1, max_size=4)


def agrees(batch: WorldBatch, row: list[WorldSample], starts: list[int]) -> None:
    """Flat arrays against each sample on its own."""
    ids, positions, blocks = (array.reshape(-1) for array in (batch.input_ids, batch.positions, batch.blocks))
    images = worlds = learned = 0
    for sample, start in zip(row, starts, strict=True):
        prompt, stop = sample.prompt, start + len(sample.prompt.input_ids)
        np.testing.assert_array_equal(ids[start:stop], prompt.input_ids)
        np.testing.assert_array_equal(positions[start:stop], np.arange(stop - start))
        np.testing.assert_array_equal(blocks[start:stop] >= 0, prompt.token_type_ids == 1)
        spans = [place for one in prompt.image_spans for place in range(start + one[0], start + one[1])]
        assert batch.image_places[images : images + len(spans)].tolist() == spans
        around = [place for one in prompt.world_spans for place in range(start + one[0] - 1, start + one[1] + 1)]
        assert batch.block_places[worlds : worlds + len(around)].tolist() == around
        targets = prompt.labels[prompt.labels != -100]
        np.testing.assert_array_equal(batch.targets[learned : learned + len(targets)], targets)
        # A token is predicted from the one before it.
        np.testing.assert_array_equal(ids[batch.supervised[learned : learned + len(targets)] + 1], targets)
        images, worlds, learned = images + len(spans), worlds + len(around), learned + len(targets)
    assert (images, worlds, learned) == (len(batch.image_places), len(batch.block_places), len(batch.targets))
    assert batch.images == sum(len(sample.pixels) for sample in row)
    assert (batch.weights == 1).all()


@settings(max_examples=20, deadline=None)
@given(counts=COUNTS, answers=st.booleans(), block=st.sampled_from(sorted(BUILDERS)))
def test_both_ways_hold_every_sample(counts: list[int], answers: bool, block: str) -> None:
    row = samples(BUILDERS[block], answers=answers, images=counts)
    lengths = [len(sample.prompt.input_ids) for sample in row]
    behind = pack(row)
    assert behind.input_ids.shape == (1, sum(lengths))
    agrees(behind, row, np.cumsum([0, *lengths[:-1]]).tolist())
    beside = left_padded(row, pad=0)
    assert beside.input_ids.shape == (len(row), max(lengths))
    agrees(beside, row, [number * max(lengths) + max(lengths) - length for number, length in enumerate(lengths)])
    assert ((beside.segments < 0).sum(axis=1) == max(lengths) - np.array(lengths)).all()


@settings(max_examples=20, deadline=None)
@given(counts=COUNTS, block=st.sampled_from(sorted(BUILDERS)))
def test_a_mask_is_that_of_the_samples_alone(counts: list[int], block: str) -> None:
    row = samples(BUILDERS[block], answers=True, images=counts)
    mask, start = pack(row).visibility().dense()[0], 0
    for sample in row:
        stop = start + len(sample.prompt.input_ids)
        np.testing.assert_array_equal(mask[start:stop, start:stop], pack([sample]).visibility().dense()[0])
        assert not mask[start:stop, :start].any()
        assert not mask[start:stop, stop:].any()
        start = stop


def test_images_of_a_sample_are_blocks_of_their_own() -> None:
    (sample,) = samples(BUILDERS["causal"], images=[2])
    mask = pack([sample]).visibility().dense()[0]
    (one, one_end), (two, two_end) = sample.prompt.image_spans
    assert mask[one:one_end, one:one_end].all()
    assert mask[two:two_end, two:two_end].all()
    assert mask[two:two_end, one:one_end].all()
    assert not mask[one:one_end, two:two_end].any()


def test_labels_that_do_not_belong_to_the_ids_are_refused() -> None:
    from dataclasses import replace

    from trackyard.errors import ConfigError

    (sample,) = samples(BUILDERS["causal"], answers=True, images=[1])
    short = replace(sample.prompt, labels=sample.prompt.labels[1:])
    with pytest.raises(ConfigError, match="not one for each token"):
        pack([sample._replace(prompt=short)])
