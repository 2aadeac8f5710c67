"""Causes, conservation and the guards of theworld section 7."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.acquire.images.outcomes import (
    CAUSES,
    OK,
    PERMANENT,
    AcceptanceError,
    Ledger,
    conserve,
    judge,
    ledger,
)
from trackyard.acquire.web import failures
from trackyard.errors import DataError

BAND = (0.35, 0.98)
WHERE = Path("raw/cats/images")

SPECIFIED = {
    "dns", "connect_timeout", "read_timeout", "tls", "blocked_address", "http_403", "http_404", "http_410", "http_429",
    "http_4xx", "http_5xx", "opt_out", "too_large", "truncated", "not_image", "decode_error", "pixel_limit",
    "too_small", "aspect", "hash_mismatch", "duplicate",
}  # fmt: skip
"""The causes of the specification that fetching can meet; the remaining three are of the curation, or end the run."""


def found(ok: int, total: int | None = None, **by_cause: int) -> Ledger:
    attempted = ok + sum(by_cause.values())
    return Ledger.of({OK: ok, **by_cause}, total=attempted + 1 if total is None else total)


def mixed(ok: int, lost: int, total: int | None = None) -> Ledger:
    """Losses of two causes, so that no single one prevails."""
    return found(ok, total, http_404=lost - lost // 2, dns=lost // 2)


def test_every_specified_cause_is_known() -> None:
    assert set(CAUSES) >= SPECIFIED
    assert set(CAUSES) - SPECIFIED == {"connection", "bad_url", "redirects", "face_box"}
    assert len(CAUSES) == len(set(CAUSES)) == 25
    assert set(CAUSES) >= set(get_args(failures.Cause)) | PERMANENT
    assert OK not in CAUSES


def test_an_unknown_outcome_is_refused() -> None:
    with pytest.raises(DataError, match="'lost' is none of ok"):
        found(1, lost=1)
    with pytest.raises(DataError, match="'internal_error' is none of ok"):
        found(1, internal_error=1)


@given(st.dictionaries(st.sampled_from([OK, *CAUSES]), st.integers(0, 10_000)))
def test_a_ledger_adds_up(counts: dict[str, int]) -> None:
    made = Ledger.of(counts, total=10**6)
    conserve({OK: made.ok, **made.by_cause}, attempted=made.attempted, where="here")
    assert made.attempted == sum(counts.values())
    assert 0 <= made.acceptance <= 1
    shown = [line.split() for line in made.lines()]
    assert sum(int(words[0].replace(",", "")) for words in shown) == made.attempted


@given(st.dictionaries(st.sampled_from([OK, *CAUSES]), st.integers(0, 100)), st.integers(1, 10), st.booleans())
def test_a_row_too_many_or_too_few_is_refused(counts: dict[str, int], by: int, more: bool) -> None:
    conserve(counts, attempted=sum(counts.values()), where="here")
    with pytest.raises(DataError, match="here: "):
        conserve(counts, attempted=sum(counts.values()) + (by if more else -by), where="here")


@pytest.mark.parametrize(
    "ledger",
    [
        mixed(0, 499),  # below 500 rows nothing is said
        mixed(100, 400),  # 0.20 exactly
        mixed(1000, 3999),  # above 0.20, below the band, before 5,000 rows
        mixed(1750, 3250),  # 0.35 exactly, at 5,000
        mixed(4900, 100),  # 0.98 exactly
        found(9000, http_404=499),  # one cause alone, but of fewer than 500 failures
        found(9000, http_404=900, dns=100),  # exactly 90 % of the failures
        mixed(35, 65, total=100),
        found(100, total=100),  # a short list without a loss
    ],
)
def test_what_may_go_on(ledger: Ledger) -> None:
    judge(ledger, BAND, WHERE)


@pytest.mark.parametrize(
    ("ledger", "said"),
    [
        (mixed(99, 401), "acceptance 19.8% after 500 rows is below 20%"),
        (mixed(1749, 3251), "lies outside 35% to 98%"),
        (mixed(4901, 99), "lies outside 35% to 98%"),
        (found(9000, http_404=901, dns=100), "901 of 1,001 failures have one cause, http_404"),
        (mixed(34, 66, total=100), "acceptance 34.0% after 100 rows, all there are, is below 35%"),
        (mixed(340, 660, total=1000), "all there are, is below 35%"),
        (found(0, total=1, dns=1), "all there are, is below 35%"),
    ],
)
def test_what_must_stop(ledger: Ledger, said: str) -> None:
    with pytest.raises(AcceptanceError) as caught:
        judge(ledger, BAND, WHERE)
    assert said in caught.value.what
    assert str(WHERE) in caught.value.what
    assert all(line in caught.value.why for line in ledger.lines())
    assert caught.value.fix.endswith(": trackyard data fetch cats --retry-failed")
    assert caught.value.exit_code == 1


def test_unusual_shares_are_warned_of() -> None:
    assert judge(mixed(2499, 2501), BAND, WHERE) == ("acceptance 50.0% after 5,000 rows: 50% to 95% is usual",)
    assert len(judge(mixed(4751, 249), BAND, WHERE)) == 1
    assert judge(mixed(2500, 2500), BAND, WHERE) == ()
    assert judge(mixed(4750, 250), BAND, WHERE) == ()
    assert judge(mixed(2000, 2999), BAND, WHERE) == ()


def test_the_histogram_is_ordered() -> None:
    assert list(found(6, total=10, dns=1, http_404=3).lines()) == [
        "           6   60.00%  ok",
        "           3   30.00%  http_404",
        "           1   10.00%  dns",
    ]


def test_no_list_no_ledger(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"list\.json does not exist"):
        ledger(tmp_path / "cats" / "images")
