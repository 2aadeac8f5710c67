"""The audit passes a run that trains, and names what does not: on two ranks under every ZeRO stage."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.tiny_molmo2 import batch, model, sample
from tests.train.zero_ranks import MODES, results
from trackyard.feed.batch import Batch
from trackyard.models.molmo2 import component_of
from trackyard.recipes.molmo2.forward import forward
from trackyard.train.audit import AuditError, AuditReport, audit_inputs

NAMES = [f"{precision} ZeRO {stage}" for precision, stage in MODES]
TRAINED = "a.weight, a.bias, b.weight, b.bias"


def found(mode: str, name: str) -> Any:
    one, other = (rank[mode]["audit"].get(name) for rank in results())
    assert one == other, "the ranks find the same"
    return one


@pytest.mark.parametrize("mode", NAMES)
def test_a_run_that_trains(mode: str) -> None:
    assert found(mode, "right") == {
        "trained": {"tensors": 4, "elements": 6 * 16 + 16 + 16 * 4 + 4},
        "frozen": {"tensors": 4, "elements": 6 * 6 + 6 + 3 * 3 + 3},
        "inputs": {},
    }


@pytest.mark.parametrize("mode", NAMES)
def test_a_warm_up_at_rate_0_is_no_evidence(mode: str) -> None:
    assert found(mode, "after a step at rate 0").startswith(
        "no update with a learning rate above 0 was applied to a, b"
    )


@pytest.mark.parametrize("mode", NAMES)
def test_weights_that_did_not_move(mode: str) -> None:
    assert found(mode, "not moved") == f"trained, but not moved (4): {TRAINED}"


@pytest.mark.parametrize("mode", NAMES)
def test_a_frozen_tensor_that_changed_on_one_rank(mode: str) -> None:
    assert found(mode, "frozen changed") == "frozen, but changed (1): frozen.weight"


@pytest.mark.parametrize("mode", NAMES)
def test_an_audit_of_nothing_fails(mode: str) -> None:
    told = found(mode, "nothing examined")
    assert told.startswith("not examined whole (4): a.weight (0 of 96 elements), a.bias (0 of 16 elements)")


@pytest.mark.parametrize("mode", ["fp32 ZeRO 0", "fp32 ZeRO 3", "bf16 ZeRO 2"])
def test_a_branch_that_nothing_uses_is_dead_although_weight_decay_moves_it(mode: str) -> None:
    assert found(mode, "dead") == "trained, but without a gradient (2): spare.weight, spare.bias"


@pytest.mark.parametrize("mode", NAMES)
def test_inputs_on_two_ranks(mode: str) -> None:
    for rank in results():
        assert rank[mode]["inputs"]["seen"] == ["all", "of one rank"]
        assert rank[mode]["inputs"]["blind"].startswith("inputs without an effect above 1e-06 on the output (1): none")


# Inputs, on one rank -------------------------------------------------------------------------------------------------


def blind_to_video(batch: dict[str, torch.Tensor]) -> torch.Tensor:
    return 2 * batch["image"] + batch["text"] + 0 * batch["video"]


BATCH = {"image": torch.ones(3), "text": torch.ones(3), "video": torch.ones(3)}


def perturbed(*names: str, by: float = 0.5) -> dict[str, dict[str, torch.Tensor]]:
    return {name: BATCH | {name: BATCH[name] + by} for name in names}


def test_inputs_that_the_output_depends_on() -> None:
    changes = audit_inputs(blind_to_video, BATCH, perturbed("image", "text"), total=list)
    assert changes == pytest.approx({"image": 1 / 3, "text": 0.5 / 3})


def test_an_input_without_an_effect_is_named() -> None:
    with pytest.raises(AuditError) as error:
        audit_inputs(blind_to_video, BATCH, perturbed("image", "video"), total=list)
    assert error.value.what == "inputs without an effect above 1e-06 on the output (1): video (changes it by 0)"


def test_no_perturbation_and_no_output_are_no_proof() -> None:
    with pytest.raises(AuditError, match="no input was perturbed"):
        audit_inputs(blind_to_video, BATCH, {}, total=list)
    for value in (torch.zeros(0), torch.zeros(3), torch.full((3,), float("nan"))):
        with pytest.raises(AuditError, match="the output has"):
            audit_inputs(lambda _, value=value: value, BATCH, perturbed("image"), total=list)


def test_an_output_that_is_not_the_same_twice_needs_a_larger_change() -> None:
    noise = iter((0.0, 1e-3, 5e-3, 0.5))

    def noisy(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.ones(3) + next(noise)

    with pytest.raises(AuditError, match=r"above 0\.01 on the output \(1\): image"):
        audit_inputs(noisy, BATCH, perturbed("image", "text"), total=list)


def of_molmo2(dataset: str) -> tuple[torch.nn.Module, Batch, dict[str, Batch]]:
    """A tiny Molmo2, a pack of one row, and the pack with its pictures turned to their negatives."""
    row = sample(dataset, 0)
    pack = batch([[row]], length=len(row.tree))
    negative = replace(pack, visual=replace(pack.visual, patches=255 - pack.visual.patches))
    return model(), pack, {"video" if dataset == "molmo2-cap" else "image": negative}


@pytest.mark.parametrize("dataset", ["pixmo-cap", "molmo2-cap"])
def test_pictures_and_clips_reach_the_output_of_molmo2(dataset: str) -> None:
    net, pack, changed = of_molmo2(dataset)
    [change] = audit_inputs(lambda of: forward(net, of).cross_entropy, pack, changed, total=list).values()
    assert change > 1e-3
    # Negative control: a connector that gives zeros is a model that is blind.
    for name, weight in net.named_parameters():
        if component_of(name) == "connector":
            torch.nn.init.zeros_(weight)
    with pytest.raises(AuditError, match="inputs without an effect"):
        audit_inputs(lambda of: forward(net, of).cross_entropy, pack, changed, total=list)


def test_the_report_says_how_much_was_examined() -> None:
    report = AuditReport(trained=2, trained_elements=10, frozen=1, frozen_elements=3, inputs={"image": 0.5})
    assert report.to_json() == {
        "trained": {"tensors": 2, "elements": 10},
        "frozen": {"tensors": 1, "elements": 3},
        "inputs": {"image": 0.5},
    }
