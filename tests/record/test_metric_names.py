"""One schema of names: whatever is measured has a family, a unit and a direction, and nothing else is let in."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.errors import ConfigError
from trackyard.evaluate.tasks.registry import load_tasks
from trackyard.record.metric_names import FAMILIES, Better, better, family, unit
from trackyard.train.metering import Meter, StepCost

ROOT = Path(__file__).resolve().parents[2]
PARTS = st.lists(st.text("abcdefghijklmnopqrstuvwxyz_:-0123456789", min_size=1), min_size=1, max_size=4)
PLAIN = [name for name, of in FAMILIES.items() if of.place != "name"]
BEFORE = [name for name, of in FAMILIES.items() if of.place == "name"]


@pytest.mark.parametrize(
    ("name", "direction", "of_unit"),
    [
        ("train/loss", "lower", "nats per token"),
        ("train/loss/sft:image_qa", "lower", "nats per token"),
        ("train/learning_rate/llm", None, ""),
        ("train/tokens", None, ""),
        ("train/skipped", None, ""),
        ("validation/counting", "higher", "share"),
        ("validation/loss", "lower", "nats per token"),
        ("start/validation/loss", "lower", "nats per token"),
        ("chance/validation/counting", None, "share"),
        ("examples/validation/counting", None, ""),
        ("test/ppl", "lower", ""),
        ("test/baseline/bpb", "lower", "bits per byte"),
        ("bench/hellaswag", "higher", "share"),
        ("attack/uat/delta_nats", "lower", "nats per token"),
        ("eval/blink/macro_accuracy", "higher", "share"),
        ("eval/zero_latents/captions/nll", "lower", "nats per token"),
        ("eval/coco_caption/cider", "higher", ""),
        ("eval/coco_caption/visual_tokens", None, ""),
        ("latency/vqa_v2/prefill_p95_ms", "lower", "ms"),
        ("usage/tokens_per_second", "higher", "tokens per s"),
        ("usage/seconds_per_step", "lower", "s"),
        ("usage/rows/tallyqa", None, ""),
        ("system/energy_joules", "lower", "J"),
        ("system/cpu_percent", None, "%"),
        ("estimate/step_seconds", "lower", "s"),
    ],
)
def test_units_and_directions(name: str, direction: Better | None, of_unit: str) -> None:
    assert (better(name), unit(name)) == (direction, of_unit)


@given(head=st.sampled_from(PLAIN), parts=PARTS)
def test_every_name_below_a_family_is_of_it(head: str, parts: list[str]) -> None:
    name = "/".join([head, *parts])
    assert family(name).name == head
    assert better(name) in (None, *get_args(Better))
    assert isinstance(unit(name), str)


@given(before=st.sampled_from(BEFORE), head=st.sampled_from(PLAIN), parts=PARTS)
def test_what_stands_before_a_name_keeps_its_meaning(before: str, head: str, parts: list[str]) -> None:
    name = "/".join([head, *parts])
    longer = f"{before}/{name}"
    assert family(longer).name == before
    assert unit(longer) == ("" if before == "examples" else unit(name))
    assert better(longer) == (better(name) if before == "start" else None)


@given(name=st.text(max_size=30))
def test_any_other_text_is_refused_in_three_parts(name: str) -> None:
    head, _, rest = name.partition("/")
    if head in FAMILIES and rest and all(rest.split("/")):
        return
    with pytest.raises(ConfigError) as raised:
        better(name)
    assert repr(name) in raised.value.what


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("evals/vsr/accuracy", "name it eval[/<arm>]/<task or set>/<measure>"),
        ("validate/loss", "name it validation/<measure>"),
        ("zzz/loss", "name it <family>/<measure>"),
        ("loss", "name it"),
        ("train", "name it train/<measure>"),
        ("train//loss", "name it train/<measure>"),
        ("start/nonsense/loss", "name it"),
    ],
)
def test_the_nearest_family_is_named(name: str, told: str) -> None:
    with pytest.raises(ConfigError) as raised:
        family(name)
    assert told in raised.value.fix


def test_everything_that_the_meter_says_is_listed() -> None:
    meter = Meter(steps=10, gpus=1, device_name="NVIDIA H200", peak=lambda: 1)
    for done in (1, 2):
        meter.step(StepCost(tokens=8, useful_tokens=8, flops=1e9, rows={"tallyqa": 1}))
        values = meter.metrics(done, {"llm": 1.0})
    assert len(values) > 10
    for name in values:
        of = family(name)
        assert name.split("/")[1] in of.measures, name
    # Control: a word that nobody listed would be noticed.
    assert "nonsense" not in FAMILIES["usage"].measures


def test_every_metric_of_a_task_has_a_direction() -> None:
    metrics = {metric for task in load_tasks(ROOT / "tasks").values() for metric in task.metrics}
    assert len(metrics) > 10
    assert [metric for metric in sorted(metrics) if better(f"eval/task/{metric}") != "higher"] == []
    assert better("eval/task/nonsense") is None


def test_shapes_begin_with_their_family() -> None:
    assert [name for name, of in FAMILIES.items() if not of.shape.startswith(name) or of.name != name] == []
