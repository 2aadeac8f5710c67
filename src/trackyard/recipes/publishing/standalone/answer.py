"""Ask this Molmo2: python answer.py QUESTION [PICTURE or TENSORS]   (torch, transformers)

A question alone needs nothing more. PICTURE goes through the stock processor, which needs torchvision and pillow.
TENSORS is a .safetensors file with the whole prompt as the stock class takes it (input_ids, attention_mask,
mm_token_type_ids, pixel_values, image_token_pooling, image_grids); the question is ignored then.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import AutoProcessor, AutoTokenizer, Molmo2ForConditionalGeneration

HERE = str(Path(__file__).resolve().parent)


def inputs_of(question: str, given: str | None) -> Any:
    """What `generate` takes."""
    if given is not None and given.endswith(".safetensors"):
        return load_file(given)
    text: list[dict[str, Any]] = [{"type": "text", "text": question}]
    how = {"add_generation_prompt": True, "tokenize": True, "return_dict": True, "return_tensors": "pt"}
    if given is None:
        tokenizer: Any = AutoTokenizer.from_pretrained(HERE)
        return tokenizer.apply_chat_template([{"role": "user", "content": text}], **how)
    processor: Any = AutoProcessor.from_pretrained(HERE)
    content = [{"type": "image", "path": given}, *text]
    return processor.apply_chat_template([{"role": "user", "content": content}], **how)


@torch.inference_mode()
def answer(question: str, given: str | None = None, most: int = 64) -> tuple[list[int], str]:
    """The likeliest answer, token by token, as ids and as text."""
    model: Any = Molmo2ForConditionalGeneration.from_pretrained(HERE)
    inputs = inputs_of(question, given)
    ids = model.eval().generate(**inputs, max_new_tokens=most, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    tokenizer: Any = AutoTokenizer.from_pretrained(HERE)
    return ids.tolist(), tokenizer.decode(ids, skip_special_tokens=True)


if __name__ == "__main__":
    sys.stdout.write(answer(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)[1] + "\n")
