"""Causal models as subjects: with and without a chat template, and what they refuse."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.evaluate.answering.families import TASK, causal, question
from tests.tiny_molmo2 import tokens
from trackyard.errors import ConfigError
from trackyard.evaluate.answering.causal import CausalSubject


def test_the_chat_template_is_used_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = causal("llama")
    asked = subject.prompt(question(1, options=("a", "b")), TASK.model_copy(update={"instruction": "Now."}))
    text = "What is here?\nA. a\nB. b\nNow."
    wanted = tokens().tokenizer.apply_chat_template([{"role": "user", "content": text}], add_generation_prompt=True)
    assert asked.ids.tolist() == wanted["input_ids"]
    assert asked.visual_tokens == 0
    monkeypatch.setattr(subject.tokenizer, "chat_template", None)
    assert subject.prompt(question(1), TASK).ids.tolist() == tokens().tokenizer("What is here?")["input_ids"]


def test_pictures_and_levels_are_refused() -> None:
    with pytest.raises(ConfigError, match="with 1 media for llama, which reads text alone"):
        causal("llama").prompt(question(1, (8, 8)), TASK)
    with pytest.raises(ConfigError, match="level 4 for llama"):
        causal("llama").prompt(question(1), TASK, visual=4)


def test_layers_with_another_kind_of_state_are_refused() -> None:
    odd = SimpleNamespace(config=SimpleNamespace(layer_types=["full_attention", "linear_attention"]))
    with pytest.raises(ConfigError, match=r"layers of the kinds \['linear_attention'\]"):
        CausalSubject(odd, None, name="odd", digest="", eos=frozenset({1}), pad=0)
