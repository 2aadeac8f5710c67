"""The guard: what it leaves out, on one device and on two ranks under every ZeRO stage, and what happens without it.

Each kind of bad step is F20 of the reliability spec.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.train.zero_ranks import BAD, HISTORY, MODES, results
from trackyard.errors import CheckpointError
from trackyard.train.guard import FLOOR, NO_NUMBER_LOSS, NO_NUMBER_NORM, Guard
from trackyard.train.guard_parameters import GuardParameters

NAMES = [f"{precision} ZeRO {stage}" for precision, stage in MODES]
SMALL = GuardParameters(window=16, minimum_history=4)


def guard(parameters: GuardParameters = SMALL, next_step: int = 0) -> Guard:
    return Guard(parameters, device=torch.device("cpu"), next_step=next_step)


def judged(of: Guard, *pairs: tuple[float, float]) -> list[float]:
    """Verdicts of steps with these losses and gradient norms."""
    return [float(of.verdict(torch.tensor(loss), torch.tensor(norm, dtype=torch.float64))) for loss, norm in pairs]


def steady(of: Guard, steps: int = 8) -> None:
    assert judged(of, *((2.0 + 0.1 * (step % 3), 1.0) for step in range(steps))) == [0.0] * steps


# One device ----------------------------------------------------------------------------------------------------------


def test_the_verdict_is_what_the_optimisers_kernel_takes() -> None:
    found = guard().verdict(torch.tensor(2.0), torch.tensor(1.0))
    assert (found.dtype, found.shape) == (torch.float32, torch.Size([]))
    weight = torch.nn.Parameter(torch.ones(3))
    adam = torch.optim.AdamW([weight], fused=True)
    for verdict, step in ((0.0, 1.0), (1.0, 1.0)):
        weight.grad = torch.full((3,), float("nan") if verdict else 1.0)
        adam.found_inf, before = torch.tensor(verdict), weight.detach().clone()
        adam.step()
        assert torch.equal(weight, before) == bool(verdict)
        assert float(adam.state[weight]["step"]) == step


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_left_out_from_the_first_step_on(bad: float) -> None:
    of = guard()
    assert judged(of, (bad, 1.0), (2.0, bad), (2.0, 1.0)) == [1.0, 1.0, 0.0]
    assert [(item.step, item.reasons) for item in of.skipped()] == [(0, (NO_NUMBER_LOSS,)), (1, (NO_NUMBER_NORM,))]


def test_spikes_need_history() -> None:
    of = guard()
    assert judged(of, (2.0, 1.0), (20.0, 1e6), (2.0, 1.0)) == [0.0, 0.0, 0.0]
    of = guard()
    steady(of)
    assert judged(of, (20.0, 1.0), (2.0, 1e6), (2.1, 1.0)) == [1.0, 1.0, 0.0]
    first, second = of.skipped()
    assert [reason[:47] for reason in first.reasons] == ["spike of the loss: 20 is above the limit 2.5558"]
    assert second.reasons == ("spike of the gradient norm: 1e+06 is above the limit 1.06",)
    assert of.in_a_row == ()


def test_a_low_loss_is_no_spike() -> None:
    of = guard()
    steady(of)
    assert judged(of, (0.01, 1e-6)) == [0.0]


def test_a_level_that_hardly_varies_is_no_tripwire() -> None:
    limit = 2.0 * (1 + SMALL.sigma * FLOOR)
    for loss, verdict in ((limit * 0.999, 0.0), (limit * 1.001, 1.0)):
        of = guard()
        assert judged(of, *[(2.0, 1.0)] * 8) == [0.0] * 8
        assert judged(of, (loss, 1.0)) == [verdict]


def test_a_skipped_step_does_not_enter_the_window() -> None:
    of = guard()
    steady(of)
    assert judged(of, *[(20.0, 1.0)] * 40) == [1.0] * 40
    of.skipped()
    assert of.in_a_row == tuple(range(8, 48))
    assert of.total == 40


def by_hand(parameters: GuardParameters, pairs: list[tuple[float, float]]) -> list[float]:
    """The same decisions with plain lists; limits are renewed as often."""
    kept: list[tuple[float, float]] = []
    limits, verdicts, fresh = (math.inf, math.inf), [], []
    for pair in pairs:
        bad = not all(math.isfinite(value) and value <= limit for value, limit in zip(pair, limits, strict=True))
        verdicts.append(float(bad))
        fresh += [] if bad else [pair]
        if len(verdicts) % max(1, parameters.window // 16) == 0:
            kept, fresh = [*kept, *fresh], []
            if len(kept) >= parameters.minimum_history:
                limits = tuple(_limit(column, parameters) for column in zip(*kept, strict=True))  # type: ignore[assignment]
    return verdicts


def _limit(values: tuple[float, ...], parameters: GuardParameters) -> float:
    last = values[-parameters.window :]
    mean = sum(last) / len(last)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in last) / len(last))
    return mean + parameters.sigma * max(deviation, FLOOR * abs(mean))


VALUE = st.one_of(st.floats(1.0, 3.0), st.floats(1.0, 3.0), st.sampled_from([50.0, 1e6, math.nan, math.inf]))


@given(st.lists(st.tuples(VALUE, VALUE), max_size=90), st.sampled_from([2, 5, 16, 40]))
def test_decisions_are_those_of_a_plain_window(pairs: list[tuple[float, float]], window: int) -> None:
    parameters = GuardParameters(window=window, minimum_history=min(4, window))
    of = guard(parameters)
    verdicts = [float(of.verdict(*(torch.tensor(value, dtype=torch.float64) for value in pair))) for pair in pairs]
    assert verdicts == by_hand(parameters, pairs)
    assert [item.step for item in of.skipped()] == [step for step, bad in enumerate(verdicts) if bad]


@given(st.lists(st.tuples(VALUE, VALUE), max_size=80), st.data())
def test_a_resumed_guard_decides_bit_for_bit_alike(pairs: list[tuple[float, float]], data: st.DataObject) -> None:
    parameters = GuardParameters(window=64, minimum_history=4)
    cut = data.draw(st.integers(0, len(pairs)))
    whole, first, second = guard(parameters), guard(parameters), guard(parameters, next_step=7)
    verdicts = judged(whole, *pairs)
    before = judged(first, *pairs[:cut])
    second.restore(first.state())
    assert before + judged(second, *pairs[cut:]) == verdicts
    ours, theirs = second.state(), whole.state()
    assert all(torch.equal(ours[name].nan_to_num(7.0), theirs[name].nan_to_num(7.0)) for name in theirs)
    assert (second.in_a_row, second.total) == (whole.in_a_row, whole.total)


def test_state_of_another_window_is_refused() -> None:
    with pytest.raises(CheckpointError, match="the window is 16 steps") as found:
        guard().restore(guard(GuardParameters(window=32, minimum_history=4)).state())
    assert found.value.fix == "resume with the guard.window that the run had"


def test_after_a_rollback_the_row_is_over() -> None:
    of = guard()
    judged(of, (math.nan, 1.0), (math.nan, 1.0))
    of.go_on_at(40)
    assert of.in_a_row == ()
    judged(of, (math.nan, 1.0))
    assert [item.step for item in of.skipped()] == [0, 1, 40]


def test_a_history_that_the_window_cannot_hold_is_refused() -> None:
    with pytest.raises(ValidationError, match="minimum_history=32 above window=16"):
        GuardParameters(window=16)


# Two ranks under DeepSpeed -------------------------------------------------------------------------------------------


def of_both(mode: str) -> list[dict[str, Any]]:
    return [rank[mode]["guard"] for rank in results()]


@pytest.mark.parametrize("mode", NAMES)
def test_bad_steps_touch_nothing_on_any_rank(mode: str) -> None:
    for seen in of_both(mode):
        assert seen["skipped"] == dict.fromkeys(BAD, 1.0)
        assert seen["untouched"] == dict.fromkeys(BAD, True)
        assert seen["finite"]


@pytest.mark.parametrize("mode", NAMES)
def test_the_steps_after_are_what_they_would_have_been(mode: str) -> None:
    for seen in of_both(mode):
        assert seen["as if it had not been"]
        assert len(seen["losses"]) == HISTORY + len(BAD)
        assert all(ours == theirs for ours, theirs in seen["losses"])


@pytest.mark.parametrize("mode", NAMES)
def test_reasons_are_told_alike_by_all_ranks(mode: str) -> None:
    one, other = of_both(mode)
    assert one["reasons"] == other["reasons"]
    reasons = {bad: told for bad, (_, *told) in zip(BAD, one["reasons"], strict=True)}
    assert [step for step, *_ in one["reasons"]] == [HISTORY + 2 * number for number in range(len(BAD))]
    for bad in ("nan loss on one rank", "inf loss", "no target"):
        assert reasons[bad] == [NO_NUMBER_LOSS, NO_NUMBER_NORM]
    assert reasons["nan gradient"] == [NO_NUMBER_NORM]
    assert [reason.split(":")[0] for reason in reasons["norm x 1e6"]] == ["spike of the gradient norm"]
    assert [reason.split(":")[0] for reason in reasons["loss x 10"]] == ["spike of the loss"]


@pytest.mark.parametrize("mode", NAMES)
def test_negative_control_without_the_guard_the_same_steps_change_the_weights(mode: str) -> None:
    """DeepSpeed itself leaves out a norm that is no number where it cannot be kept from looking, but no spike."""
    alone = mode in ("fp32 ZeRO 0", "fp32 ZeRO 2", "bf16 ZeRO 2")
    for seen in of_both(mode):
        assert seen["unguarded"] == {
            "norm x 1e6": "changed",
            "loss x 10": "changed",
            "nan gradient": "not finite" if alone else "untouched",
        }
