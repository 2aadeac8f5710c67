"""Items as a table: what is written comes back, and nothing that cannot be scored gets in."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.recipes.datacomp.mini_parameters import changed
from trackyard.digest import digest_bytes
from trackyard.errors import DataError
from trackyard.recipes.datacomp.evaluating.items import (
    GROUP_ROWS,
    Item,
    eval_pictures,
    pictures_of,
    read_items,
    undrawn_pictures,
    write_items,
)
from trackyard.recipes.datacomp.study import Study


def items(count: int, *, same: bool = False) -> Iterator[Item]:
    """Each about two pictures, the second of which is that of the next item."""
    for number in range(count):
        shown = (b"one", b"two") if same else (b"picture %d" % number, b"picture %d" % (number + 1))
        yield Item(
            id=f"item-{number}",
            task="task",
            images=shown,
            question=f"what is {number}? é",
            options=("(A)", "(B)"),
            gold="(A)",
            meta={"type": "x", "number": number},
            undrawn=(b"plain %d" % (number // 2),),
        )


def accept(item: Item) -> None:
    return None


def test_items_come_back_as_they_were(tmp_path: Path) -> None:
    count = 2 * GROUP_ROWS + 3
    assert write_items(tmp_path / "set" / "items.parquet", items(count), refuse=accept) == count
    assert list(read_items(tmp_path / "set" / "items.parquet")) == list(items(count))


def test_pictures_are_distinct_and_named_by_their_bytes(tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    write_items(path, items(5), refuse=accept)
    assert pictures_of(path) == [digest_bytes(b"picture %d" % number) for number in range(6)]
    write_items(path, items(5, same=True), refuse=accept)
    assert len(pictures_of(path)) == 2


def test_pictures_of_a_study_are_those_of_all_sets_once_each(tmp_path: Path) -> None:
    study = Study(root=tmp_path, parameters=changed({"evaluation.sets": ["blink", "vsr"]}))
    for name, count in (("blink", 4), ("vsr", 6)):
        write_items(study.items(name), items(count), refuse=accept)
    found = dict(eval_pictures(study))
    assert list(found.values()) == [b"picture %d" % number for number in range(7)]
    assert all(digest_bytes(image) == name for name, image in found.items())
    assert [image for _, image in undrawn_pictures(study)] == [b"plain 0", b"plain 1", b"plain 2"]


def test_a_refused_item_a_lone_question_and_a_second_id_stop(tmp_path: Path) -> None:
    first = next(items(1))
    for wrong, refuse, said in (
        ([first], lambda item: "it is wrong", "it is wrong"),
        ([replace(first, images=())], accept, "no picture"),
        ([first, first], accept, "another item"),
        ([], accept, "no item"),
    ):
        with pytest.raises(DataError, match=said):
            write_items(tmp_path / "items.parquet", iter(wrong), refuse=refuse)


def test_an_absent_or_damaged_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be read(.|\n)*eval_data"):
        list(read_items(tmp_path / "items.parquet"))
    path = tmp_path / "cut.parquet"
    write_items(path, items(3), refuse=accept)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="cannot be read"):
        list(read_items(path))
