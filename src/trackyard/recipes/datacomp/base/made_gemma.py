"""A tiny Gemma 3 of the project's own: stock class, stock files, weights from a minute of lessons about its scenes.

Where the world block lies it is given the words of a scene's four quarters, as its own embeddings at the scale of
text; so a projector that turns the latents of a quarter into the embedding of its word makes every question
answerable. The vision tower is random and stays so: its features are of other scenes in every lesson, so that nothing
is read from them.
Source: theworld spec sections 2, 5 and 15 (check 22); issue on the DataComp track (mini).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from trackyard.errors import DataError
from trackyard.recipes.datacomp.base.made_tokenizer import BOS, EOS, PAD, make_tokenizer
from trackyard.recipes.datacomp.base.teaching import Teaching
from trackyard.recipes.datacomp.parameters import MadeGemmaParameters

SPARE_ROWS = 64
"""Of the table of embeddings, behind the tokenizer's entries: reserved ids of world tokens lie there."""
POSITIONS = 2048
HEAD_DIM = 16
LEAST_WITH, MOST_WITHOUT = 0.95, 0.40
"""Share of captions whose relation is right, with the words of the scene and without; chance is 0.25."""
_VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}


def make_gemma(folder: Path, parameters: MadeGemmaParameters, *, say: Callable[[str], None]) -> dict[str, Any]:
    """Write model and tokenizer to `folder`, as transformers writes them; the same for the same parameters.

    Returns parameters, steps, loss (nats, of the last tenth) and captions {with_words, without} (shares).
    """
    tokenizer = make_tokenizer(parameters.vocabulary)
    gemma = random_gemma(parameters, tokenizer)
    facts = Teaching(gemma, tokenizer, parameters).run(say)
    gemma.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return {"parameters": sum(weight.numel() for weight in gemma.parameters()), **facts}


def require_taught(facts: dict[str, Any]) -> None:
    """DataError unless the model answers with the words of a scene, and only with them."""
    captions = facts["captions"]
    if captions["with_words"] < LEAST_WITH or captions["without"] > MOST_WITHOUT:
        raise DataError(
            what=f"the made Gemma chooses the right caption in {captions['with_words']:.0%} with the words of a scene, "
            f"in {captions['without']:.0%} without",
            why=f"at least {LEAST_WITH:.0%} and at most {MOST_WITHOUT:.0%} are needed, or no projector could be judged",
            fix="raise datacomp.gemma.made.steps in params.yaml, or choose another seed there",
        )


def random_gemma(parameters: MadeGemmaParameters, tokenizer: Any) -> Any:
    """The stock class with random weights, the same for the same seed."""
    from transformers import Gemma3ForConditionalGeneration

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(parameters.seed)
        gemma = Gemma3ForConditionalGeneration._from_config(_config(parameters, tokenizer), dtype=torch.float32)
        with torch.no_grad():
            # Of a length of 1 after Gemma's own scaling; and a projector of images that passes something on.
            gemma.get_input_embeddings().weight.normal_(0, parameters.hidden**-0.5)
            gemma.model.multi_modal_projector.mm_input_projection_weight.normal_(0, _VISION["hidden_size"] ** -0.5)
    gemma.generation_config.eos_token_id = tokenizer.eos_token_id
    return gemma


def _config(parameters: MadeGemmaParameters, tokenizer: Any) -> Any:
    from transformers import Gemma3Config

    ids = tokenizer.convert_tokens_to_ids
    text = {
        "vocab_size": len(tokenizer) + SPARE_ROWS,
        "hidden_size": parameters.hidden,
        "intermediate_size": parameters.ffn,
        "num_hidden_layers": parameters.layers,
        "num_attention_heads": parameters.heads,
        "num_key_value_heads": max(1, parameters.heads // 2),
        "head_dim": HEAD_DIM,
        # Queries and keys have a length of 4: divided by it, as usual, no score of such a narrow head would be above
        # 4, and nothing could be looked up sharply.
        "query_pre_attn_scalar": 1,
        "sliding_window": parameters.window,
        "layer_types": ["full_attention" if n % 2 else "sliding_attention" for n in range(parameters.layers)],
        "max_position_embeddings": POSITIONS,
        "initializer_range": 0.05,
        "bos_token_id": ids(BOS),
        "eos_token_id": ids(EOS),
        "pad_token_id": ids(PAD),
    }
    vision = {**_VISION, "image_size": parameters.image_size, "patch_size": parameters.patch, "vision_use_head": False}
    return Gemma3Config(
        text_config=text,
        vision_config=vision,
        mm_tokens_per_image=parameters.soft_tokens,
        boi_token_index=ids("<start_of_image>"),
        eoi_token_index=ids("<end_of_image>"),
        image_token_index=len(tokenizer) - 1,
        bos_token_id=ids(BOS),
        eos_token_id=ids(EOS),
        pad_token_id=ids(PAD),
    )
