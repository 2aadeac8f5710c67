from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch

from tests.evaluate.latency.stub_subject import END, Queueing, Sleeping
from tests.tiny_molmo2 import GEOMETRY, VIDEO, model, prompt, tokens
from trackyard.errors import ConfigError
from trackyard.evaluate.answering.engine import answer
from trackyard.evaluate.answering.molmo2 import Molmo2Subject
from trackyard.evaluate.answering.prompt import Prompt
from trackyard.evaluate.latency.measure import measure
from trackyard.evaluate.latency.statistics import part_ms
from trackyard.evaluate.latency.timing import Timing

PARTS = ("pre", "vision", "prefill", "decode")


def _ratios(subject: Sleeping, timing: Timing) -> dict[str, float]:
    """Measured over slept, by part; what was slept is forgotten."""
    found = {part: getattr(timing, f"t_{part}_ms") / (1e3 * slept) for part, slept in subject.slept.items()}
    subject.slept.clear()
    return found


def _assert_within_two_percent(subject: Sleeping, synchronise: Callable[[], None] | None = None) -> None:
    """Of several samples, because a busy machine adds to some of them, and takes nothing away."""
    found, gaps = [], []
    for _ in range(4):
        timing = measure(subject, subject.make_prompt, 16, forced=False, synchronise=synchronise)
        gaps.append(timing.t_total_ms - timing.t_vision_ms - timing.t_prefill_ms - timing.t_decode_ms)
        found.append(_ratios(subject, timing))
    for part in PARTS:
        assert min(ratio[part] for ratio in found) == pytest.approx(1.0, abs=0.02), part
    assert 0 <= min(gaps) < 1.0, "the parts are the whole"


def test_known_times_are_measured_within_two_percent_and_their_sum_is_the_whole() -> None:
    _assert_within_two_percent(Sleeping(length=3))


def test_the_same_where_the_device_works_later_and_is_waited_for() -> None:
    subject = Queueing(length=2)
    _assert_within_two_percent(subject, subject.finish)


@pytest.mark.parametrize("length", [1, 3])
def test_control_without_synchronisation_parts_are_wrong_and_the_sample_says_so(length: int) -> None:
    found, valid = [], []
    for _ in range(4):
        subject = Queueing(length=length)
        timing = measure(subject, subject.make_prompt, 16, forced=False, synchronise=lambda: None)
        found.append(_ratios(subject, timing))
        valid.append(timing.valid)
    # A busy machine adds to some of them.
    for part in ("vision", "prefill"):
        assert min(ratio[part] for ratio in found) < 0.1, part
    assert not any(valid)


def test_one_token_has_no_decoding() -> None:
    subject = Sleeping(length=1)
    timing = measure(subject, subject.make_prompt, 16, forced=False)
    assert timing.tokens == (END,)
    assert timing.t_decode_ms == 0.0
    assert part_ms(timing.to_json(), "step") is None
    assert timing.valid
    assert subject.steps == []
    assert (timing.n_prompt, timing.n_visual, timing.n_out) == (5, 2, 1)


def test_every_step_reads_the_last_token_in_its_place() -> None:
    subject = Sleeping(length=3)
    timing = measure(subject, subject.make_prompt, 16, forced=False)
    assert timing.tokens == (1, 2, END)
    assert part_ms(timing.to_json(), "step") == timing.t_decode_ms / 2
    assert subject.steps == [(1, 6, 5), (2, 7, 6)]


def test_a_forced_length_is_reached_without_the_end_token_and_a_natural_one_is_capped() -> None:
    subject = Sleeping(length=2)
    forced = measure(subject, subject.make_prompt, 4, forced=True)
    assert forced.tokens == (1, 2, 3, 4)
    assert measure(Sleeping(length=9), subject.make_prompt, 3, forced=False).tokens == (1, 2, 3)


@pytest.mark.parametrize(("length", "spans"), [(1, 4), (3, 5)])
def test_marks_are_taken_once_however_long_the_answer_is(length: int, spans: int) -> None:
    subject = Sleeping(length=length)
    waits: list[None] = []
    measure(subject, subject.make_prompt, 16, forced=False, synchronise=lambda: waits.append(None))
    assert len(waits) == 2 * spans, "at both ends of pre, vision, prefill, total, and decode where there is one"


def test_nothing_is_timed_without_a_token() -> None:
    subject = Sleeping(length=1)
    with pytest.raises(ConfigError, match="0 tokens"):
        measure(subject, subject.make_prompt, 0, forced=False)


def _same(made: Prompt) -> Prompt:
    return made


@pytest.mark.parametrize("forced", [False, True])
def test_a_real_model_answers_as_it_does_in_a_batch(forced: bool) -> None:
    subject = Molmo2Subject(model(), tokens(), GEOMETRY, VIDEO)
    prompts = [subject.prompt_of(prompt(name, 1)) for name in ("a-okvqa", "vqa-v2", "pixmo-count")]
    together = dict(answer(subject, [(number, each, 6) for number, each in enumerate(prompts)], batch=3, forced=forced))
    for number, each in enumerate(prompts):
        timing = measure(subject, partial(_same, each), 6, forced)
        assert timing.tokens == together[number].tokens
        assert (timing.n_prompt, timing.n_visual) == (together[number].n_prompt, together[number].n_visual)
        assert timing.t_vision_ms > 0
        assert timing.t_prefill_ms > 0
        assert not torch.is_inference_mode_enabled()
