import sys
from functools import cache

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from trackyard.errors import ConfigError
from trackyard.feed.tokens import train_tokenizer
from trackyard.recipes.pile_ffn.text.mini_corpus import TEST, MiniCorpusParameters, records
from trackyard.snapshot import fast_bpe
from trackyard.snapshot.fast_bpe import FastBpe, plain_copy

PARTS = (
    *("a", "B", "word", "I", " ", " ", "  ", "   ", " " * 23, " " * 26, "\n", "\n\n", "\t", "\r\n", "\x0b", "\x0c"),
    *("'", "'s", "'ll", "'re", "'v", '"', ".", "-", "_", "<", ">", "1", "23", "²", "Ⅷ", "٣"),
    *("é", "e\u0301", "\u0301", "\u0338", "\u0345", "ß", "ﬁ", "\u212a", "\u037e", "и", "中", "文", "日本", "\u1100"),
    *("😀", "👩\u200d👩", "\ufe0f", "\u00a0", "\u3000", "\u1680", "\u2028", "\x85", "\ufeff", "\x00", "\x1c", "\x1f"),
    *("\x7f", "\u1161"),
    *("<|endoftext|>", "<|", "|>", "def f(x):\n    return x\n", "don't ", "\U0010ffff"),
)  # fmt: skip
"""Everything that a cut could get wrong: spaces of all kinds, contractions, marks that join, specials, controls."""


def neox() -> Tokenizer:
    """In the manner of GPT-NeoX: NFC, GPT-2's pattern, runs of spaces as tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator((*corpus(), *PARTS * 3), trainer)
    tokenizer.add_tokens([AddedToken(" " * length, normalized=True) for length in range(24, 1, -1)])
    return tokenizer


def corpus() -> list[str]:
    made = MiniCorpusParameters(train_documents=60, held_out_documents=40)
    return [record.text for record in records(made, TEST)]


@cache
def pair(name: str) -> tuple[Tokenizer, FastBpe]:
    """The tokenizer itself, for which specials are text, and ours."""
    made = neox() if name == "neox" else train_tokenizer([*corpus(), "日本 é 12 345"], 700).backend_tokenizer
    return plain_copy(made), FastBpe.of(made)


def plain(tokenizer: Tokenizer, text: str) -> list[int]:
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids


@pytest.mark.parametrize("name", ["neox", "digits"])
@settings(max_examples=400)
@given(text=st.lists(st.sampled_from(PARTS) | st.text(max_size=3), max_size=12).map("".join))
@example(text="")
@example(text="'s\x1f of 'sé 's\u0301")
@example(text="foo\u00a0\n\nbar \u00a0 bar")
def test_ids_are_those_of_the_tokenizer(name: str, text: str) -> None:
    tokenizer, ours = pair(name)
    assert ours.encode(text).tolist() == plain(tokenizer, text)


@pytest.mark.parametrize("name", ["neox", "digits"])
def test_characters_of_every_kind_between_ascii(name: str) -> None:
    tokenizer, ours = pair(name)
    points = [*range(0x500), *range(0x500, sys.maxunicode + 1, 211), *range(0x2000, 0x2070), *range(0x300, 0x370)]
    for point in points:
        if not 0xD800 <= point < 0xE000:
            mark = chr(point)
            text = f"a {mark} b{mark}c 1{mark}2 \n\n{mark}\n.{mark}'s{mark}  {mark}"
            assert ours.encode(text).tolist() == plain(tokenizer, text), hex(point)


def test_real_text_comes_out_the_same() -> None:
    tokenizer, ours = pair("neox")
    for text in corpus():
        assert ours.encode(text).tolist() == plain(tokenizer, text)


def test_a_cut_at_every_space_is_seen() -> None:
    """Negative control: the texts of these tests tell the tokenizer's cuts from others."""
    tokenizer, _ = pair("neox")
    wrong = 0
    for text in ("a  b", "don't", "\n\n  x", "e \u0301", "  "):
        pieces = [f" {piece}" if place else piece for place, piece in enumerate(text.split(" "))]
        wrong += [number for piece in pieces for number in plain(tokenizer, piece)] != plain(tokenizer, text)
    assert wrong >= 2


def test_what_is_kept_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_bpe, "KEPT", 50)
    tokenizer, _ = pair("neox")
    ids = fast_bpe._Ids(tokenizer)
    monkeypatch.setattr(fast_bpe, "_Ids", lambda _: ids)
    ours = FastBpe.of(neox())
    for text in (*corpus()[:10], "a" * 10_000):
        assert ours.encode(text).tolist() == plain(tokenizer, text)
        assert len(ids) <= 50
    assert max(map(len, ids)) <= fast_bpe.LONGEST


def changed(**parts: object) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    return tokenizer


def with_token(content: str, **settings: bool) -> Tokenizer:
    tokenizer = changed()
    tokenizer.add_tokens([AddedToken(content, **settings)])
    return tokenizer


@pytest.mark.parametrize(
    ("tokenizer", "said"),
    [
        (changed(normalizer=normalizers.NFKC()), "normaliser NFKC"),
        (changed(normalizer=normalizers.Sequence([normalizers.NFC()])), "normaliser Sequence"),
        (changed(pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=True)), "pre-tokenizer"),
        (changed(pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)), "pre-tokenizer"),
        (changed(pre_tokenizer=pre_tokenizers.Whitespace()), "Whitespace"),
        (
            changed(
                pre_tokenizer=pre_tokenizers.Sequence(
                    [
                        pre_tokenizers.Split(Regex(r"\p{N}{1,3}"), "isolated"),
                        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
                    ]
                )
            ),
            "Split",
        ),
        (changed(model=models.BPE(dropout=0.1)), "dropout=0.1"),
        (changed(model=models.BPE(end_of_word_suffix="</w>")), "end_of_word_suffix"),
        (changed(model=models.WordLevel(unk_token="?")), "model WordLevel"),
        (with_token("new york"), "added token 'new york'"),
        (with_token("  ", lstrip=True), "added token '  '"),
        (with_token(" "), "added token ' '"),
    ],
)
def test_another_pipeline_is_refused(tokenizer: Tokenizer, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        FastBpe.of(tokenizer)


def test_runs_that_are_special_are_text() -> None:
    made = neox()
    made.add_special_tokens([AddedToken(" " * 25, special=True)])
    plainly, ours = plain_copy(made), FastBpe.of(made)
    for text in ("a" + " " * 25 + "b", " " * 25 + "\nb", "a  b" + " " * 26):
        assert ours.encode(text).tolist() == plain(plainly, text)


def test_a_tokenizer_without_a_pre_tokenizer_is_refused() -> None:
    with pytest.raises(ConfigError, match="pre-tokenizer null"):
        FastBpe.of(Tokenizer(models.BPE()))
