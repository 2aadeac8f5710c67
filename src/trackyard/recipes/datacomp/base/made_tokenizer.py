"""A byte-level tokenizer with Gemma's control tokens and a chat template of Gemma's form, made from text of the scenes.

Source: theworld spec sections 5 and 9.
"""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from trackyard.errors import ConfigError
from trackyard.feed.world_prompts import END_OF_IMAGE, END_OF_TURN, SOFT_TOKEN, START_OF_IMAGE
from trackyard.recipes.datacomp.base.lessons import WORDS, contents, lessons

PAD, EOS, BOS, UNK, START_OF_TURN = "<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>"
CONTROLS = (PAD, EOS, BOS, UNK, START_OF_TURN, END_OF_TURN, START_OF_IMAGE, END_OF_IMAGE)
"""Ids 0 to 7; the soft token is the last of all ids, as in Gemma 3."""
_OFTEN = 400
"""Times that each word stands alone in the text, so that it becomes one token."""
TEMPLATE = (
    "{{ bos_token }}"
    "{%- for message in messages -%}"
    "{%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}"
    "{{ '<start_of_turn>' + role + '\n' }}"
    "{%- for part in message['content'] -%}"
    "{%- if part['type'] == 'image' -%}{{ '<start_of_image>' }}{%- else -%}{{ part['text'] | trim }}{%- endif -%}"
    "{%- endfor -%}"
    "{{ '<end_of_turn>\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<start_of_turn>model\n' }}{%- endif -%}"
)


def make_tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    """Of `vocabulary` entries; the same every time. ConfigError if a word of the scenes is not one token."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - 1,
        special_tokens=list(CONTROLS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(_texts(), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=PAD,
        eos_token=EOS,
        bos_token=BOS,
        unk_token=UNK,
        additional_special_tokens=[*CONTROLS[4:], SOFT_TOKEN],
        chat_template=TEMPLATE,
    )
    word_ids(tokenizer)
    return tokenizer


def word_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    """The one token of each word of the scenes, with a space before it. ConfigError for a word of several."""
    found = {word: tokenizer(f" {word}", add_special_tokens=False)["input_ids"] for word in WORDS}
    split = [word for word, ids in found.items() if len(ids) != 1]
    if split:
        raise ConfigError(
            what=f"a tokenizer of {len(tokenizer)} entries splits {', '.join(split)}",
            why="a world token stands for one quarter of a picture, and is to become the token of its word",
            fix="raise datacomp.gemma.made.vocabulary in params.yaml",
        )
    return {word: ids[0] for word, ids in found.items()}


def _texts() -> Iterable[str]:
    for scene in contents():
        for group in lessons(scene).values():
            for lesson in group:
                yield f"{lesson.question}\n\n{lesson.answer}"
    yield from (f" {word}" for word in WORDS for _ in range(_OFTEN))
    yield from ("user\nmodel\n\n" for _ in range(_OFTEN))
