from pathlib import Path

from tests.recipes.pile_ffn.small_source import study_of
from trackyard.recipes.pile_ffn.text.document_ids import halved, hashed_split
from trackyard.recipes.pile_ffn.text.documents import Document
from trackyard.recipes.pile_ffn.text.streams import streams

DOCUMENTS = [Document.of(f"text {number}", component="", source="a", row=number) for number in range(3_000)]


def of_kind(root: Path, **source: object) -> dict[str, tuple[tuple[str, ...], set[int]]]:
    """By stream: the roles it reads, and which of the documents belong to it."""
    given = {"kind": "files", "licence": "CC0-1.0", "train": ["a", "b", "c"], **source}
    found = streams(study_of(root, data={"source": given}).parameters)
    return {one.name: (one.roles, {item.row for item in DOCUMENTS if one.belongs(item)}) for one in found}


def test_held_out_text_comes_first_and_slices_in_the_order_of_the_seeds(tmp_path: Path) -> None:
    parameters = study_of(tmp_path).parameters
    found = streams(parameters)
    assert [(one.name, one.roles) for one in found] == [
        ("val", ("val",)),
        ("test", ("test",)),
        ("train-00", ("train-00",)),
        ("train-01", ("train-01",)),
        ("pretrain", ("pretrain",)),
    ]
    training, made = parameters.training, parameters.model.made
    assert {one.tokens for one in found if one.replicate is not None} == {training.tokens + 1}
    assert found[-1].tokens == made.steps * training.windows_per_step * training.window + 1


def test_a_halved_file_is_read_by_both_pools(tmp_path: Path) -> None:
    found = of_kind(tmp_path, held_out="halved", val="v")
    assert found["val"][0] == found["test"][0] == ("val",)
    assert found["val"][1] == {item.row for item in DOCUMENTS if halved(item.id) == "val"}
    assert found["val"][1] | found["test"][1] == found["train-00"][1] == set(range(3_000))
    assert not found["val"][1] & found["test"][1]


def test_hashed_pools_read_all_training_files_and_slices_the_rest(tmp_path: Path) -> None:
    found = of_kind(tmp_path, held_out="hashed")
    assert found["val"][0] == found["test"][0] == ("train-00", "train-01", "pretrain")
    assert found["test"][1] == {item.row for item in DOCUMENTS if hashed_split(item.id) == "test"} != set()
    assert found["train-01"][1] == set(range(3_000)) - found["val"][1] - found["test"][1]
