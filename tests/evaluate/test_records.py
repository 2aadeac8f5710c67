import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evaluate.recorded import latency, sample
from trackyard.errors import DataError
from trackyard.evaluate.records import Latency, Lines, Sample

SAMPLES, TIMES = Lines(Sample), Lines(Latency)


SAMPLE_FIELDS = (
    "answer_index dataset error hit_cap id key n_out n_prompt n_visual parsed pred references schema score split status"
)
LATENCY_FIELDS = (
    "id key n_out n_prompt n_visual schema t_decode_ms t_pre_ms t_prefill_ms t_total_ms t_vision_ms valid warmup"
)


def test_fields_are_those_of_the_spec_in_order() -> None:
    assert " ".join(json.loads(SAMPLES.line(sample(1)))) == SAMPLE_FIELDS
    assert " ".join(json.loads(TIMES.line(latency(1)))) == LATENCY_FIELDS


@given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8"), min_size=1))
def test_a_line_is_read_as_it_was_written(pred: str, error: str) -> None:
    for record in (sample(1, pred=pred), sample(2, pred=pred, score={}, status="failed", error=error)):
        line = SAMPLES.line(record)
        assert b"\n" not in line
        assert SAMPLES.record(line, where="x") == record


def test_an_answer_that_quotes_the_schema_is_only_an_answer() -> None:
    record = sample(1, pred=f'"schema":"{Sample.SCHEMA}",', id='a"schema":"trackyard-sample/1",')
    assert SAMPLES.record(SAMPLES.line(record), where="x") == record


@given(st.data())
def test_a_cut_line_is_no_json(data: st.DataObject) -> None:
    line = SAMPLES.line(sample(3))
    assert SAMPLES.record(line[: data.draw(st.integers(0, len(line) - 1))], where="x") is None


def test_a_lost_page_is_no_json() -> None:
    line = SAMPLES.line(sample(3))
    assert SAMPLES.record(b"\0" * 512, where="x") is None
    assert SAMPLES.record(line[:40] + b"\0" * 20 + line[60:], where="x") is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("schema", "trackyard-sample/2"),
        ("score", {"vqa": 1.5}),
        ("score", {"vqa": float("nan")}),
        ("n_out", -1),
        ("n_out", "3"),
        ("hit_cap", 1),
        ("status", "skipped"),
        ("status", "failed"),
        ("error", "an error of an answer that succeeded"),
        ("host", "n42"),
        ("pred", None),
    ],
)
def test_a_line_of_another_form_is_refused(field: str, value: Any) -> None:
    document = json.loads(SAMPLES.line(sample(1))) | {field: value}
    with pytest.raises(DataError, match=r"part-x\.jsonl holds a line that is no trackyard-sample/1"):
        SAMPLES.record(json.dumps(document, separators=(",", ":")).encode(), where="part-x.jsonl")


@pytest.mark.parametrize("field", ["schema", "parsed", "id", "score"])
def test_a_line_that_lacks_a_part_is_refused(field: str) -> None:
    document = json.loads(SAMPLES.line(sample(1)))
    del document[field]
    with pytest.raises(DataError, match="trackyard-sample/1"):
        SAMPLES.record(json.dumps(document, separators=(",", ":")).encode(), where="x")


def test_a_time_is_a_number() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        TIMES.line(latency(1, t_total_ms=float("inf")))
    with pytest.raises(DataError, match="t_total_ms"):
        TIMES.record(TIMES.line(latency(1, t_total_ms=-1.0)), where="x")


def test_what_is_done_with_a_record() -> None:
    assert sample(1).counts
    assert not sample(1).failed
    assert sample(1, status="failed", error="no image").failed
    assert latency(1).counts
    assert not latency(1, warmup=True).counts
    assert latency(1, valid=False).failed
