"""Continue a text: python generate.py TEXT   (torch, transformers)"""

import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

HERE = str(Path(__file__).resolve().parent)


@torch.inference_mode()
def continued(text: str, most: int = 40) -> tuple[list[int], str]:
    """The likeliest next tokens, as ids and as text."""
    tokenizer: Any = AutoTokenizer.from_pretrained(HERE)
    model: Any = AutoModelForCausalLM.from_pretrained(HERE).eval()
    inputs = tokenizer(text, return_tensors="pt")
    found = model.generate(**inputs, max_new_tokens=most, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    return found.tolist(), tokenizer.decode(found)


if __name__ == "__main__":
    sys.stdout.write(continued(sys.argv[1])[1] + "\n")
