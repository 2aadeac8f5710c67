from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from trackyard.errors import ConfigError
from trackyard.feed.tokens import (
    ADDED_TOKENS,
    TokenTable,
    extend_tokenizer,
    tokenizer_fingerprint,
    train_tokenizer,
)

TEXTS = ["a dog and a cat sit on the mat", "the user asks what the assistant sees", "Image 1 Image 2"] * 3
ROWS = 320


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return extend_tokenizer(train_tokenizer(TEXTS, 300), ROWS)


@pytest.fixture(scope="module")
def table(tokenizer: PreTrainedTokenizerFast) -> TokenTable:
    return TokenTable.of(tokenizer)


def test_added_tokens_follow_the_embedding_in_order(tokenizer: PreTrainedTokenizerFast, table: TokenTable) -> None:
    assert tokenizer.convert_tokens_to_ids(list(ADDED_TOKENS)) == list(range(ROWS, ROWS + 10))
    assert table.vocab_size == ROWS
    assert table.added("<|video|>") == ROWS + 9
    assert len(tokenizer) == ROWS + 10


def test_bos_is_eos_where_the_tokenizer_has_none(tokenizer: PreTrainedTokenizerFast, table: TokenTable) -> None:
    assert table.bos == table.eos == table.turn_end == tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert table.pad == tokenizer.convert_tokens_to_ids("<|endoftext|>")
    assert tokenizer.padding_side == "left"


@pytest.mark.parametrize("forged", ["<im_patch>", "<|im_end|>", "<|image|>", "<|reserved_0|>", "a<|im_start|>b"])
def test_text_that_spells_a_special_token_stays_text(table: TokenTable, forged: str) -> None:
    ids = table.encode(f"see {forged} here")
    assert max(ids) < 300
    assert not set(ids) & {table.bos, table.eos, table.turn_start, table.pad}
    assert table.tokenizer.decode(ids) == f"see {forged} here"
    # Negative control: the ordinary call does parse it.
    assert table.tokenizer(forged)["input_ids"] != table.encode(forged)


def test_digits_are_single_tokens(table: TokenTable) -> None:
    assert len(table.encode("2025")) == 4
    assert len(table.encode("12.5 ")) == 5


def test_any_text_survives(table: TokenTable) -> None:
    text = "naïve — 東京 🙂\n\ttab"
    assert table.tokenizer.decode(table.encode(text)) == text


def test_training_is_deterministic_in_another_process() -> None:
    code = f"from trackyard.feed.tokens import *\nprint(tokenizer_fingerprint(train_tokenizer({TEXTS!r}, 300)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == tokenizer_fingerprint(train_tokenizer(TEXTS, 300))


def test_the_fingerprint_follows_the_vocabulary_only(tokenizer: PreTrainedTokenizerFast, table: TokenTable) -> None:
    tokenizer(["a", "a dog and"], padding=True, truncation=True, max_length=3)
    assert tokenizer_fingerprint(tokenizer) == table.fingerprint
    assert tokenizer_fingerprint(train_tokenizer([*TEXTS, "zebra zebra zebra"], 300)) != table.fingerprint


def test_saving_keeps_ids_names_and_template(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert (loaded.image_token, loaded.video_token) == ("<|image|>", "<|video|>")
    assert TokenTable.of(loaded) == TokenTable.of(tokenizer)
    assert loaded.chat_template == tokenizer.chat_template
    assert loaded.padding_side == "left"


def test_a_table_crosses_process_boundaries(table: TokenTable) -> None:
    copy = pickle.loads(pickle.dumps(table))
    assert copy == table
    assert max(copy.encode("a dog <im_end>")) < 300
    assert copy.encode("a dog <im_end>") == table.encode("a dog <im_end>")


def test_encoding_does_not_depend_on_how_the_shared_tokenizer_was_last_called(table: TokenTable) -> None:
    text = "a dog <im_end> and a cat"
    before = table.encode(text)
    table.tokenizer([text, "a"], padding=True, truncation=True, max_length=2)
    assert table.encode(text) == before == table.tokenizer(text, split_special_tokens=True)["input_ids"]


def test_refusals(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ConfigError, match="added tokens"):
        TokenTable.of(train_tokenizer(TEXTS, 300))
    with pytest.raises(ConfigError, match=r"330 entries and the embedding 320 rows"):
        extend_tokenizer(tokenizer, ROWS)
    with pytest.raises(ConfigError, match="vocab_size=200"):
        train_tokenizer(TEXTS, 200)


BOS = "<|im_end|>"


def chat(tokenizer: PreTrainedTokenizerFast, messages: list[dict[str, object]], *, ask: bool = False) -> str:
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=ask))


def test_chat_template_one_image_one_turn(tokenizer: PreTrainedTokenizerFast) -> None:
    messages: list[dict[str, object]] = [
        {"role": "user", "content": [{"type": "text", "text": "vqa2: What?"}, {"type": "image"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "A cat."}]},
    ]
    start = f"{BOS}<|image|><|im_start|>user\nvqa2: What?<|im_end|>\n<|im_start|>assistant\n"
    assert chat(tokenizer, messages) == f"{start}A cat.<|im_end|>"
    assert chat(tokenizer, messages[:1], ask=True) == start


def test_chat_template_two_images_video_and_turns(tokenizer: PreTrainedTokenizerFast) -> None:
    two = [{"role": "user", "content": [{"type": "image"}, {"type": "image"}, {"type": "text", "text": "Same?"}]}]
    assert chat(tokenizer, two).startswith(f"{BOS}Image 1<|image|>Image 2<|image|><|im_start|>user\nSame?")
    subtitle = "subtitle\n0.0 - 2.5 Hello.\n"
    film = [{"role": "user", "content": [{"type": "video"}, {"type": "subtitle", "text": subtitle}]}]
    assert chat(tokenizer, film).startswith(f"{BOS}<|video|>{subtitle}<|im_start|>user\n")
    talk: list[dict[str, object]] = [
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "1."},
        {"role": "user", "content": "Two?"},
        {"role": "assistant", "content": "2."},
    ]
    assert chat(tokenizer, talk) == (
        f"{BOS}<|im_start|>user\nOne?<|im_end|>\n<|im_start|>assistant\n1.<|im_end|>\n"
        "<|im_start|>user\nTwo?<|im_end|>\n<|im_start|>assistant\n2.<|im_end|>"
    )
