"""A pack on C ranks is the pack on one rank: real gloo processes, three families, masks on (molmo2 spec section 12)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trackyard.models import context as module
from trackyard.models.context import ContextGroup, degree_of, own_columns, owned_features

ROOT = Path(__file__).resolve().parents[2]
LOSS, GRADIENT = 1e-6, 1e-4
"""Largest relative differences: single precision sums in another order, which depends on the processor too."""
SPLITS = ("2 data-parallel", "2 context-parallel", "2x2", "4 context-parallel")


def computed(name: str, folder: Path, seconds: int) -> Any:
    """What the ranks of tests/models/<name>.py found."""
    results = folder / "results.json"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-m", f"tests.models.{name}", str(results)],
        cwd=ROOT, env=environment, timeout=seconds, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return json.loads(results.read_text())


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    cases: dict[str, dict[str, float]] = computed("context_ranks", tmp_path_factory.mktemp("ranks"), 300)
    return cases


@pytest.mark.parametrize("family", ["molmo2", "gpt_neox", "gemma3"])
@pytest.mark.parametrize("split", SPLITS)
def test_every_split_has_the_loss_and_the_gradients_of_one_rank(
    found: dict[str, dict[str, float]], family: str, split: str
) -> None:
    """Packed documents, trees, images and a video; sliding windows; fewer key heads than ranks."""
    case = found[f"{family} {split}"]
    assert case["loss"] <= LOSS
    assert case["gradient"] <= GRADIENT


@pytest.mark.parametrize("edge", ["text alone", "one image", "half a pack"])
def test_a_rank_with_nothing_to_do_still_joins(found: dict[str, dict[str, float]], edge: str) -> None:
    """No picture to encode, no answer, neither: every parameter of every rank has a gradient, and the sum is right."""
    case = found[f"molmo2 {edge}"]
    assert case["loss"] <= LOSS
    assert case["gradient"] <= GRADIENT


@pytest.mark.parametrize(
    "control",
    [
        "molmo2 without visual blocks", "molmo2 causal", "gpt_neox without documents", "gpt_neox causal",
        "gemma3 without window", "gemma3 causal",
    ],
)  # fmt: skip
def test_negative_control_a_mask_that_lost_something_fails_the_same_test(
    found: dict[str, dict[str, float]], control: str
) -> None:
    assert found[control]["loss"] > 100 * LOSS
    assert found[control]["gradient"] > 1e3 * GRADIENT


def test_deepspeeds_own_wrapper_loses_the_mask_and_the_same_test_sees_it(found: dict[str, dict[str, float]]) -> None:
    lost = found["gemma3 by DeepSpeed's wrapper"]
    assert lost["loss"] > 100 * LOSS
    assert lost["gradient"] > 1e3 * GRADIENT
    assert lost["loss"] == pytest.approx(found["gemma3 causal"]["loss"]), "what is left of the mask is causality"
    # It is the mask that it loses: plain causal text is right.
    plain = found["plain text by DeepSpeed's wrapper"]
    assert plain["loss"] <= LOSS
    assert plain["gradient"] <= GRADIENT


@pytest.mark.parametrize("how", ["full", "selective"])
def test_activation_checkpointing_exchanges_again(found: dict[str, dict[str, float]], how: str) -> None:
    assert found[f"molmo2 recomputed {how}"]["loss"] <= LOSS
    assert found[f"molmo2 recomputed {how}"]["gradient"] <= GRADIENT


def test_losses_of_answers_are_found_where_own_answers_says(found: dict[str, dict[str, float]]) -> None:
    case = found["molmo2 answers"]
    assert case["loss"] <= 1e-5
    assert 0 < case["own"] < case["all"]


def test_block_masks_are_shared_too(found: dict[str, dict[str, float]]) -> None:
    """Forward only: flex attention has no backward pass on the CPU."""
    assert found["molmo2 block masks"]["loss"] <= LOSS


@pytest.mark.system
def test_a_full_pack_of_stage_3_on_two_ranks(tmp_path: Path) -> None:
    """36,864 tokens, 384 frames."""
    case = computed("context_long", tmp_path, 1500)
    assert case["loss"] <= 1e-5
    assert case["gradient"] <= 1e-4
    assert case["1 rank peak bytes"] < 6e9, "the mask in 4 bytes a pair alone has 5.4 GB a layer"


@given(st.integers(1, 8), st.integers(1, 50))
def test_the_columns_of_the_ranks_are_the_tokens_once_and_in_order(degree: int, share: int) -> None:
    length = degree * share
    columns = [
        np.arange(length)[own_columns(length, ContextGroup(group=None, rank=rank, degree=degree))]
        for rank in range(degree)
    ]
    assert [len(part) for part in columns] == [share] * degree
    assert np.concatenate(columns).tolist() == list(range(length))


def test_no_group_is_one_rank_with_everything() -> None:
    assert ContextGroup.of(None) is None
    assert degree_of(None) == 1
    assert own_columns(7, None) == slice(0, 7)


@given(st.data())
def test_features_reach_the_ranks_of_their_tokens(data: st.DataObject) -> None:
    """The whole exchange in one process: what a rank sends is what the others expect, and lands at its token."""
    degree = data.draw(st.integers(1, 4))
    packs, length = data.draw(st.integers(1, 3)), degree * data.draw(st.integers(1, 6))
    chosen = data.draw(st.lists(st.booleans(), min_size=packs * length, max_size=packs * length))
    places = np.flatnonzero(chosen)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(places)), min_size=degree - 1, max_size=degree - 1)))
    spans = list(zip([0, *cuts], [*cuts, len(places)], strict=True))
    outbox: dict[int, list[torch.Tensor]] = {}
    with pytest.MonkeyPatch.context() as patch:
        for sending in (True, False):
            for rank in range(degree):

                def exchange(
                    rows: torch.Tensor,
                    leaving: list[int],
                    arriving: list[int],
                    group: Any,
                    rank: int = rank,
                    sending: bool = sending,
                ) -> torch.Tensor:
                    if sending:
                        outbox[rank] = list(rows.split(leaving))
                        return rows.new_empty((sum(arriving), 1))
                    assert [len(outbox[other][rank]) for other in range(degree)] == arriving
                    return torch.cat([outbox[other][rank] for other in range(degree)])

                patch.setattr(module, "_Exchange", SimpleNamespace(apply=exchange))
                group = ContextGroup(group=None, rank=rank, degree=degree)
                encoded = torch.arange(*spans[rank]).float()[:, None]
                features, own_places = owned_features(encoded, spans, places, length, group)
                if not sending:
                    share = length // degree
                    local = np.arange(packs * length).reshape(packs, length)[:, own_columns(length, group)].flatten()
                    assert len(local) == packs * share
                    assert local[own_places].tolist() == places[features[:, 0].long().numpy()].tolist()
                    assert len(own_places) == len(np.intersect1d(local, places))
