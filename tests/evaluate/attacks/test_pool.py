"""The pool: printable tokens that survive a round trip."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from trackyard.errors import ConfigError
from trackyard.evaluate.attacks.pool import TokenPool, token_pool


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Bytes, three merges, and a token that no merge leads to."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate(["<eos>", *alphabet, "th", "Ġth", "lost"])}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[("t", "h"), ("Ġ", "th")]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<eos>")


def test_the_pool_holds_what_a_slow_look_at_each_token_finds() -> None:
    tokenizer = byte_tokenizer()
    pool = token_pool(tokenizer)
    wanted = []
    for token in range(1, len(tokenizer)):
        text = tokenizer.decode([token])
        if text and text.isprintable() and tokenizer.encode(text, add_special_tokens=False) == [token]:
            wanted.append(token)
    assert pool.ids.tolist() == wanted
    names = set(tokenizer.convert_ids_to_tokens(pool.ids.tolist()))
    assert {"a", "th", "Ġth", "Ġ", "~"} <= names
    # A special token, half a character, a line break, and one that its own text does not encode to.
    assert not {"<eos>", "Ã", "Ċ", "lost"} & names


def test_the_digest_names_the_ids_and_nothing_else() -> None:
    assert TokenPool.of([3, 1, 1]).digest == TokenPool.of([1, 3]).digest != TokenPool.of([1, 4]).digest
    with pytest.raises(ConfigError, match="a token pool of 1 ids"):
        TokenPool.of([7, 7])
