"""Our preprocessing against transformers' Molmo2 processors: 200 seeded rows, value by value.

The reference values in stock_processors.json were made by those processors (its `origin` says with which versions) and
are compared everywhere. Where torchvision is installed, the processors run again, and are compared with both.
Tolerance: one level of 255, where float32 rounds a half either way (feed/resize.py), in three values of a thousand at
most and far fewer on average; in the stored values every such place is listed, so that they are compared exactly.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from tests.feed import stock_reference
from tests.feed.stock_cases import COUNT, MODES, SINGLE, VIDEOS, Case, Tensors, make_case, ours, tokens
from tests.feed.stock_reference import (
    COMMAND,
    FILE,
    SCHEMA,
    VIDEO_STEPS,
    levels_digest,
    processor,
    reference,
    stock,
)
from trackyard.digest import digest_bytes
from trackyard.feed.frames import VideoParameters
from trackyard.feed.geometry import VisionGeometry
from trackyard.publish.export import video_processor_config
from trackyard.schema import read_document

needs_torchvision = pytest.mark.skipif(
    not stock_reference.available(), reason="the stock processors need torchvision; the stored values stand in for them"
)


@cache
def stored() -> dict[str, Any]:
    return read_document(FILE, SCHEMA, fix=COMMAND)


def assert_is_stored(case: Case, found: Tensors, entry: dict[str, Any]) -> None:
    """Our tensors of a case are the stock ones."""
    media = digest_bytes(b"".join(medium.data for medium in case.row.media))
    assert media == entry["media"], f"case {case.number} is encoded otherwise: {COMMAND}"
    assert found.fingerprints() == {key: entry[key] for key in ("inputs", "grids", "pooling", "tokens", "ids")}
    assert levels_digest(found.levels, entry["differing"]) == entry["levels"]


def test_origin_and_extent() -> None:
    origin, cases = stored()["origin"], stored()["cases"]
    assert sorted(origin["versions"]) == ["numpy", "pillow", "torch", "torchvision", "transformers"]
    assert origin["tokenizer"] == tokens().fingerprint
    assert len(cases) == COUNT == 200
    assert FILE.stat().st_size < 300_000
    assert SINGLE % len(MODES) == 0, "every colour mode comes equally often"
    shares = [len(entry["differing"].split()) / (entry["inputs"] * 729 * 588) for entry in cases.values()]
    assert max(shares) <= 3e-3
    assert sum(shares) / COUNT < 2e-4


@pytest.mark.parametrize("part", range(8))
def test_every_row_is_the_stock_one(part: int) -> None:
    for number in range(part, COUNT, 8):
        case = make_case(number)
        found = ours(case)
        assert found.levels.dtype == np.uint8
        assert_is_stored(case, found, stored()["cases"][str(number)])


@pytest.mark.parametrize("change", ["levels", "pooling", "ids"])
def test_another_value_is_noticed(change: str) -> None:
    case = make_case(COUNT - VIDEOS)
    found, entry = ours(case), stored()["cases"][str(case.number)]
    getattr(found, change).flat[7] ^= 1
    with pytest.raises(AssertionError):
        assert_is_stored(case, found, entry)


@needs_torchvision
@pytest.mark.parametrize("part", range(8))
def test_the_processors_themselves(part: int) -> None:
    using = processor()
    changing = ("levels", "differing")  # halves fall as the threads of torch are
    for number in range(part, COUNT, 8):
        found, _ = reference(make_case(number), using)
        kept = stored()["cases"][str(number)]
        assert {k: v for k, v in found.items() if k not in changing} == {
            k: v for k, v in kept.items() if k not in changing
        }


def test_an_export_configures_the_processor_that_was_compared() -> None:
    written = video_processor_config(VisionGeometry(), VideoParameters())
    assert {name: written.get(name) for name in VIDEO_STEPS} == VIDEO_STEPS


@needs_torchvision
def test_column_tokens_of_the_global_view_would_be_noticed() -> None:
    """Left unset, the stock processor ends each of its 14 rows with a column token (spec section 18)."""
    case = make_case(0)
    theirs, _ = stock(case, processor(use_single_crop_col_tokens=None))
    assert len(theirs.ids) == len(ours(case).ids) + 14
