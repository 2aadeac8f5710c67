"""Text to token ids: the added tokens of Molmo2, the chat template, and a small tokenizer for the tiny models.

Source: molmo2 spec sections 1 (added tokens), 7 (layout) and 15 (left padding).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from trackyard.digest import digest_json
from trackyard.errors import ConfigError
from trackyard.row import IMAGE_MARK, VIDEO_MARK

if TYPE_CHECKING:
    # Parameters are read without it: importing it takes a second.
    from transformers import PreTrainedTokenizerFast

ADDED_TOKENS = (
    "<im_start>",
    "<im_end>",
    "<im_patch>",
    "<im_col>",
    "<low_res_im_start>",
    IMAGE_MARK,
    "<im_low>",
    "<frame_start>",
    "<frame_end>",
    VIDEO_MARK,
)
"""In id order after the padded vocabulary; the names and the order belong to the published model."""

TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"
PADDING = "<|endoftext|>"

CHAT_TEMPLATE = """\
{%- set media = namespace(images=0, seen=0) -%}
{%- for message in messages if message['content'] is not string -%}
{%- for part in message['content'] if part['type'] == 'image' -%}
{%- set media.images = media.images + 1 -%}
{%- endfor -%}
{%- endfor -%}
{{- bos_token or eos_token -}}
{%- for message in messages if message['content'] is not string -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'image' -%}
{%- set media.seen = media.seen + 1 -%}
{{- ('Image ' ~ media.seen if media.images > 1 else '') ~ '<|image|>' -}}
{%- elif part['type'] == 'video' -%}
{{- '<|video|>' -}}
{%- endif -%}
{%- endfor -%}
{%- endfor -%}
{%- for message in messages if message['content'] is not string -%}
{%- for part in message['content'] if part['type'] == 'subtitle' -%}
{{- part['text'] -}}
{%- endfor -%}
{%- endfor -%}
{%- for message in messages -%}
{%- if message['role'] not in ['user', 'assistant'] -%}
{{- raise_exception('Molmo2 knows the roles user and assistant, not ' ~ message['role']) -}}
{%- endif -%}
{{- '<|im_start|>' ~ message['role'] ~ '\\n' -}}
{%- if message['content'] is string -%}
{{- message['content'] -}}
{%- else -%}
{%- for part in message['content'] if part['type'] == 'text' -%}
{{- part['text'] -}}
{%- endfor -%}
{%- endif -%}
{{- eos_token if message['role'] == 'assistant' and loop.last else '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""
"""Section 7. A content part of type `subtitle` holds the whole block that follows the media."""


@dataclass(frozen=True, kw_only=True)
class TokenTable:
    """The ids the feed writes, and the tokenizer that turns plain text into ids.

    vocab_size: rows of the language model's head, equal to the id of the first added token: no label may reach it.
    """

    tokenizer: PreTrainedTokenizerFast = field(repr=False, compare=False)
    plain: Tokenizer = field(repr=False, compare=False)
    """Our own copy that never parses special tokens: the shared one switches per call, which races between threads."""
    fingerprint: str
    bos: int
    eos: int
    pad: int
    turn_start: int
    turn_end: int
    vocab_size: int

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerFast) -> TokenTable:
        """Read the ids of an extended tokenizer; ConfigError if an added token is absent or out of order."""
        vocab = tokenizer.get_vocab()
        added = [vocab.get(token) for token in ADDED_TOKENS]
        first = added[0]
        if first is None or added != list(range(first, first + len(ADDED_TOKENS))):
            raise ConfigError(
                what=f"the added tokens have the ids {added}",
                why="the model's configuration expects the ten of them in order after the padded vocabulary",
                fix="`dvc repro stage1`: its export carries a tokenizer that extend_tokenizer has completed",
            )
        eos, pad, bos = tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.bos_token_id
        start, end = vocab.get(TURN_START), vocab.get(TURN_END)
        if eos is None or pad is None or start is None or end is None:
            raise ConfigError(
                what=f"eos={eos}, pad={pad}, {TURN_START}={start}, {TURN_END}={end} in the tokenizer",
                why="turns, sequence ends and padding are written with them",
                fix="choose a chat tokenizer of the Qwen family as model.llm in params.yaml",
            )
        return cls(
            tokenizer=tokenizer,
            plain=_plain(tokenizer),
            fingerprint=tokenizer_fingerprint(tokenizer),
            bos=eos if bos is None else bos,
            eos=eos,
            pad=pad,
            turn_start=start,
            turn_end=end,
            vocab_size=first,
        )

    def added(self, token: str) -> int:
        """Id of one of `ADDED_TOKENS` (ValueError for another)."""
        return self.vocab_size + ADDED_TOKENS.index(token)

    def encode(self, text: str) -> list[int]:
        """Ids of plain text. A special token spelled inside it stays text: nobody can forge a placeholder or a turn."""
        ids: list[int] = self.plain.encode(text, add_special_tokens=False).ids
        return ids

    def __reduce__(self) -> tuple[object, ...]:
        # The copy's setting does not survive pickling, so another process makes its own.
        return TokenTable.of, (self.tokenizer,)


def _plain(tokenizer: PreTrainedTokenizerFast) -> Tokenizer:
    plain = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    plain.no_padding()
    plain.no_truncation()
    plain.encode_special_tokens = True
    return plain


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerFast) -> str:
    """Digest of everything that decides ids. Padding and truncation are call settings and stay out."""
    body = json.loads(tokenizer.backend_tokenizer.to_str())
    body.pop("padding", None)
    body.pop("truncation", None)
    return digest_json(body)


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE in the manner of Qwen: one token per digit, no bos, `<|im_end|>` ends, `<|endoftext|>` pads.

    vocab_size: upper bound, at least 259 (three specials and 256 bytes); little text gives fewer. Deterministic.
    """
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    specials = [PADDING, TURN_START, TURN_END]
    if vocab_size < len(alphabet) + len(specials):
        raise ConfigError(
            what=f"vocab_size={vocab_size} for a byte-level tokenizer",
            why=f"{len(alphabet)} bytes and {len(specials)} special tokens come before the first merge",
            fix="set model.vocab_size in params.yaml to 320 or more",
        )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=specials, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=TURN_END, pad_token=PADDING, padding_side="left")


def extend_tokenizer(tokenizer: PreTrainedTokenizerFast, embedding_rows: int) -> PreTrainedTokenizerFast:
    """A copy with the chat template, whose added tokens start at id `embedding_rows`: the base embedding's height.

    Dummy tokens fill the ids between the tokenizer's own and that height.
    """
    from transformers import PreTrainedTokenizerFast

    size = len(tokenizer)
    if size > embedding_rows:
        raise ConfigError(
            what=f"the tokenizer has {size} entries and the embedding {embedding_rows} rows",
            why="the added tokens must be the first ids after the embedding's rows",
            fix="start from the tokenizer that belongs to model.llm, not from an extended one",
        )
    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    dummies = [f"<|reserved_{number}|>" for number in range(embedding_rows - size)]
    backend.add_special_tokens(
        [AddedToken(token, normalized=False, special=True) for token in (*dummies, *ADDED_TOKENS)]
    )
    named = {"image_token": IMAGE_MARK, "video_token": VIDEO_MARK}
    own = {name: str(token) for name in ("bos_token", "unk_token") if (token := getattr(tokenizer, name)) is not None}
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=tokenizer.eos_token,
        pad_token=tokenizer.pad_token or tokenizer.eos_token,
        extra_special_tokens=named,
        chat_template=CHAT_TEMPLATE,
        padding_side="left",
        **own,
    )
