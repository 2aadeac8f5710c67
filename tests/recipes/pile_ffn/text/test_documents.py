import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackyard.errors import ConfigError, DataError
from trackyard.feed.token_windows import TokenWindows
from trackyard.recipes.pile_ffn.text.documents import (
    Document,
    Dropped,
    HeldOutParameters,
    Selection,
    Tokenised,
    replicate_of,
)
from trackyard.snapshot.token_shards import TokenShards
from trackyard.snapshot.token_writer import write_tokens

EOS = 256
SIZES = HeldOutParameters(val_tokens=60, test_predicted=60, uat_opt=2, uat_eval=2, flip=2, attack_tokens=12)


def tokenised(text: str, row: int = 0) -> Tokenised:
    """Bytes as tokens, and the end."""
    document = Document.of(text, component="prose", source="00", row=row)
    return Tokenised(document=document, ids=np.array([*text.encode(), EOS]))


def long(*numbers: int) -> list[Tokenised]:
    return [tokenised(f"document number {number:05d}", number) for number in numbers]


def selection(**changes: int) -> tuple[Selection, list[tuple[str, Tokenised]]]:
    found = Selection()
    sizes = SIZES.model_copy(update=changes)
    placed = [*found.hold_out("val", long(*range(100)), sizes), *found.hold_out("test", long(*range(200, 300)), sizes)]
    return found, placed


def test_sets_are_filled_to_the_first_total_that_reaches_them() -> None:
    _, placed = selection()
    # A document has 21 bytes and an end: 22 tokens, of which 21 are predicted.
    sizes = {name: [item.ids.size for split, item in placed if split == name] for name, _ in placed}
    assert sizes == {"val": [22] * 3, "uat_opt": [12] * 2, "test": [22] * 3, "uat_eval": [12] * 2, "flip": [12] * 2}
    assert {item.document.row for split, item in placed if split == "test"} == {200, 201, 202}


def test_predicted_tokens_count_for_the_test_set() -> None:
    for wanted, documents in ((63, 3), (64, 4), (66, 4)):
        placed = selection(test_predicted=wanted)[1]
        assert sum(split == "test" for split, _ in placed) == documents


def test_attack_documents_are_long_and_cut() -> None:
    found = Selection()
    stream = [tokenised("short"), *long(1, 2, 3), tokenised("too short"), *long(4, 5)]
    sizes = SIZES.model_copy(update={"val_tokens": 10})
    placed = list(found.hold_out("val", stream, sizes))
    assert [(split, item.ids.size) for split, item in placed] == [
        ("val", 6),
        ("val", 22),
        ("uat_opt", 12),
        ("uat_opt", 12),
    ]
    assert found.dropped.duplicate == 0


def test_a_file_is_read_no_further_than_its_sets_need() -> None:
    stream = iter(long(*range(100)))
    assert len(list(Selection().hold_out("val", stream, SIZES))) == 5
    assert len(list(stream)) == 95


def test_a_set_that_cannot_be_filled_is_named() -> None:
    with pytest.raises(DataError, match=r"the val file holds 1 of the 2 documents of 12 tokens of uat_opt"):
        list(Selection().hold_out("val", long(*range(4)), SIZES))
    with pytest.raises(DataError, match="holds 44 of the 60 tokens of val"):
        list(Selection().hold_out("val", long(1, 2), SIZES))
    # Flip is a set of so many at most.
    assert len(list(Selection().hold_out("test", long(*range(6)), SIZES))) == 6


def test_what_is_dropped_from_training_is_counted() -> None:
    found, _ = selection()
    stream = [*long(500, 500), tokenised(" \n"), *long(0, 201, 501, 500, 502)]
    taken = list(found.training_slice(stream, tokens=66))
    assert [item.document.row for item in taken] == [500, 501, 502]
    assert (found.dropped.duplicate, found.dropped.heldout_overlap, found.dropped.empty) == (2, 2, 1)


def test_slices_end_at_the_first_total_and_share_nothing() -> None:
    found, _ = selection()
    first = [item.document.row for item in found.training_slice(iter(long(*range(500, 600))), tokens=45)]
    second = [item.document.row for item in found.training_slice(iter(long(*range(501, 600))), tokens=44)]
    assert (first, second) == ([500, 501, 502], [503, 504])


def test_without_the_guards_text_is_used_twice() -> None:
    """Negative control: another selection, that knows nothing of the first, takes the same documents."""
    found, placed = selection()
    other = Selection()
    list(other.hold_out("val", long(*range(1_000, 1_010)), SIZES))
    taken = {item.document.id for item in other.training_slice(long(0, 201, 500), tokens=60)}
    assert taken & {item.document.id for _, item in placed}
    with pytest.raises(DataError, match="ends after 22 of 60 tokens"):
        list(found.training_slice(long(0, 201, 500), tokens=60))


def test_holding_out_comes_first() -> None:
    with pytest.raises(ConfigError, match="before any document was held out"):
        list(Selection().training_slice(long(1), tokens=1))


@settings(max_examples=40)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=150), st.integers(1, 200))
def test_no_text_has_two_places(numbers: list[int], tokens: int) -> None:
    """Streams with any repetitions, in one another and in themselves."""
    found = Selection()
    held = [item.document.id for _, item in found.hold_out("val", long(*range(10)), SIZES)]
    taken: list[bytes] = []
    for part in (numbers[::2], numbers[1::2]):
        try:
            taken += [item.document.id for item in found.training_slice(long(*part), tokens=tokens)]
        except DataError:
            return
    assert len({*held, *taken}) == len(held) + len(taken)


def test_the_file_of_a_seed_is_its_place_in_the_list() -> None:
    assert [replicate_of(seed, (42, 1337, 2024)) for seed in (42, 1337, 2024)] == [0, 1, 2]
    for seed, seeds in ((7, (42, 1337)), (42, (42, 42))):
        with pytest.raises(ConfigError, match=f"seed {seed} occurs"):
            replicate_of(seed, seeds)


@given(st.lists(st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=30), min_size=3, max_size=20))
@settings(max_examples=8)
def test_shards_hold_documents_to_the_byte_and_windows_every_token_once(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    directory = tmp_path_factory.mktemp("tokens") / "t"
    documents = [tokenised(text) for text in texts]
    options = {"source": {}, "licence": "CC0-1.0", "tokenizer": "a" * 64, "vocabulary": 257, "shard_tokens": 40}
    write_tokens(directory, (item.ids for item in documents), dataset="mini", **options)
    shards = TokenShards.open(directory)
    back = []
    for start, stop in zip(shards.starts[:-1].tolist(), shards.starts[1:].tolist(), strict=True):
        *ids, end = shards.batch([start], stop - start)[0].tolist()
        assert end == EOS
        back.append(bytes(ids))
    assert back == [text.encode() for text in texts]
    length = 4
    windows = TokenWindows(shards, length=length, batch=1, seed=3)
    rows = np.concatenate([windows.batch(step) for step in range(windows.windows)])
    targets = rows[:, 1:]
    assert targets.size == length * ((shards.tokens - 1) // length) == shards.tokens - 1 - windows.left_out
    # No padding: the targets are the stream itself but for its first token and the tail.
    order = np.argsort(np.concatenate([windows.numbers(step) for step in range(windows.windows)]))
    stream = shards.batch([0], shards.tokens)[0]
    assert np.array_equal(targets[order].ravel(), stream[1 : 1 + targets.size])


def test_ids_are_all_that_stays_of_a_stream() -> None:
    def stream() -> Iterator[Tokenised]:
        for row in range(6_000):
            yield Tokenised(
                document=Document.of(f"{row} " + "a word " * 700, component="prose", source="00", row=row),
                ids=np.zeros(1_000, dtype=np.int64),
            )

    found, _ = selection()
    tracemalloc.start()
    count = sum(1 for _ in found.training_slice(stream(), tokens=6_000_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 6_000
    assert peak < 1_000_000  # of 29 MB of text


def test_what_an_earlier_process_took_is_taken() -> None:
    first, placed = selection()
    held_out = [item.document.id for _, item in placed]
    trained = [item.document.id for item in first.training_slice(long(*range(300, 310)), tokens=60)]
    second = Selection()
    second.resume(held_out=held_out, dropped=Dropped(duplicate=7))
    second.resume(trained=trained, dropped=Dropped(duplicate=7))
    again = list(second.training_slice([*long(0, 1, 300, 301), *long(*range(310, 320))], tokens=60))
    assert [item.document.row for item in again] == [310, 311, 312]
    assert second.dropped == Dropped(duplicate=9, heldout_overlap=2)
