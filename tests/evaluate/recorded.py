"""Samples and timings of made-up questions, the same for the same number, and a store for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trackyard.evaluate.records import Latency, Sample
from trackyard.evaluate.store import Store

KEY = "c" * 64
AGAIN = "trackyard run nine accuracy"


def name(number: int) -> str:
    return f"text_vqa:validation:{number}"


IDS = [name(number) for number in range(60)]


def sample(number: int, **changed: Any) -> Sample:
    facts: dict[str, Any] = {
        "key": KEY,
        "id": name(number),
        "dataset": "text_vqa",
        "split": "validation",
        "pred": f"answer {number}\n",
        "references": ("down", "Größe", 'with "quotes"'),
        "parsed": None if number % 7 == 0 else f"answer {number}",
        "score": {"vqa": number % 11 / 10, "em": float(number % 2)},
        "n_visual": 500 + number % 5,
        "n_prompt": 540,
        "n_out": 3,
        "hit_cap": number % 10 == 0,
    }
    return Sample(**(facts | changed))


def latency(number: int, **changed: Any) -> Latency:
    facts: dict[str, Any] = {
        "key": KEY,
        "id": name(number),
        "t_pre_ms": 1.0,
        "t_vision_ms": 2.0,
        "t_prefill_ms": 3.0,
        "t_decode_ms": 4.0,
        "t_total_ms": 9.0,
        "n_visual": 500,
        "n_prompt": 540,
        "n_out": 3,
        "warmup": False,
        "valid": True,
    }
    return Latency(**(facts | changed))


def store(folder: Path, *, ids: Sequence[str] = IDS, key: str = KEY, **about: Any) -> Store[Sample]:
    return Store(folder, Sample, key=key, about={"task": "t1"} | about, ids=ids, again=AGAIN)
