import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.errors import DataError
from trackyard.row import Media, Row, Turn
from trackyard.snapshot.columns import SCHEMA, record_to_row, row_to_record

text = st.text(max_size=20)
media = st.builds(
    Media,
    kind=st.sampled_from(["image", "video"]),
    data=st.binary(max_size=50),
    path=text,
    width=st.integers(1, 2**31 - 1),
    height=st.integers(1, 2**31 - 1),
    frames=st.integers(1, 2**31 - 1),
    fps=st.floats(0, 240),
    duration=st.floats(0, 1e6),
)
conversation = st.lists(st.tuples(text, text), min_size=1, max_size=3).map(
    lambda pairs: tuple(
        turn for q, a in pairs for turn in (Turn(role="user", content=q), Turn(role="assistant", content=a))
    )
)
rows = st.builds(
    Row,
    id=st.text(min_size=1, max_size=20),
    task=st.text(min_size=1, max_size=20),
    media=st.lists(media, max_size=3).map(tuple),
    conversations=st.lists(conversation, min_size=1, max_size=3).map(tuple),
    meta=st.dictionaries(st.sampled_from(["subtitle", "clip"]), st.lists(st.floats(0, 9) | text)),
)


@given(rows)
def test_a_row_survives_the_record(row: Row) -> None:
    assert record_to_row(row_to_record(row)) == row


def test_columns_are_those_of_the_spec(make_row) -> None:
    assert SCHEMA.names == ["id", "task", "media", "conversations", "meta"]
    struct = SCHEMA.field("media").type.value_type
    assert [struct.field(i).name for i in range(struct.num_fields)] == [
        "kind", "bytes", "path", "width", "height", "frames", "fps", "duration",
    ]  # fmt: skip
    assert json.loads(row_to_record(make_row(1))["meta"])["label"] == ["", "ship"]


USER, ASSISTANT = Turn(role="user", content="q"), Turn(role="assistant", content="a")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": ""}, "no id"),
        ({"conversations": ()}, "no conversation"),
        ({"conversations": ((USER,),), "meta": {}}, "turns of conversation 0 are ['user']"),
        ({"conversations": ((ASSISTANT, USER),), "meta": {}}, "turns of conversation 0"),
        ({"conversations": ((),), "meta": {}}, "turns of conversation 0 are []"),
        ({"meta": {"label": ["only one"]}}, "meta.label is not a list of 2"),
        ({"meta": {"answer_index": 3}}, "meta.answer_index is not a list of 2"),
        ({"meta": {"clip": [0.0, float("nan")]}}, "not JSON"),
        ({"meta": {"clip": b"bytes"}}, "not JSON"),
    ],
)
def test_rows_that_mean_nothing_are_refused(make_row, changes: dict, message: str) -> None:
    with pytest.raises(DataError, match=message.replace("[", r"\[")):
        row_to_record(make_row(1, **changes))


@pytest.mark.parametrize(
    "damage", [{"media": [{"kind": "audio"}]}, {"meta": "{"}, {"conversations": None}, {"media": [{"kind": "image"}]}]
)
def test_records_outside_the_schema_are_refused(make_row, damage: dict) -> None:
    with pytest.raises(DataError, match="row-00001"):
        record_to_row(row_to_record(make_row(1)) | damage)


def test_null_bytes_are_refused(make_row) -> None:
    record = row_to_record(make_row(1))
    record["media"][0]["bytes"] = None
    with pytest.raises(DataError, match="NoneType"):
        record_to_row(record)
