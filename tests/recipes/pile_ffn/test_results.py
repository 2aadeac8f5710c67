import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from trackyard.errors import DataError
from trackyard.recipes.pile_ffn.cells import Cell
from trackyard.recipes.pile_ffn.results import (
    DOCUMENT,
    Data,
    Header,
    Model,
    admitted,
    read_result,
    write_result,
)

CELLS = {
    f"{arm}-s{seed}": Cell(arm=arm, seed=seed) for arm in ("baseline", "nonneg_mlp_both") for seed in (42, 1337)
} | {"untouched": Cell(arm="untouched", seed=None)}


def header(cell: Cell, **changes) -> Header:
    made = Header(
        run_id="abc",
        spec_digest="s" * 64,
        git_commit="c" * 40,
        image_digest="i" * 64,
        libs={"torch": "2.13.0"},
        model=Model(id="tiny", revision="f" * 40),
        arm=cell.arm,
        variant=None,
        seed=cell.seed,
        data=Data(
            id="mini", revision="0" * 40, slice_digest=None if cell.seed is None else f"slice of seed {cell.seed}"
        ),
        inputs={"artifacts/pile_ffn/tokens/manifest.json": "t" * 64},
        precision={"scoring": "fp32"},
        device="cpu",
        wall_s=1.5,
    )
    return replace(made, **changes)


def body(**changes) -> dict:
    return {"tokens": 65_536, "nll": 3.25, "by_component": {"prose": 2.0, "code": 1.0}} | changes


@pytest.fixture
def study(tmp_path: Path) -> Path:
    for name, cell in CELLS.items():
        write(tmp_path, name, header(cell))
    return tmp_path


def write(directory: Path, name: str, found: Header, **changes) -> None:
    write_result(directory / (CELLS[name].path if name in CELLS else name) / DOCUMENT, "train", found, body(**changes))


def test_a_whole_study(study: Path) -> None:
    found = admitted(study, "train", CELLS, alike=("tokens",))
    assert sorted(found) == sorted(CELLS)
    assert found["baseline-s42"].header == header(CELLS["baseline-s42"])
    assert found["baseline-s42"].body == body()


def test_the_file_is_strict_json_with_sorted_keys(study: Path) -> None:
    text = (study / "untouched" / DOCUMENT).read_text()
    document = json.loads(text)
    assert document.pop("schema") == "trackyard-pile-ffn-train/1"
    for part in (document, document["header"], document["body"], document["body"]["by_component"]):
        assert list(part) == sorted(part)
    assert document["header"]["globally_monotonic"] is False
    with pytest.raises(ValueError, match="Out of range float"):
        write(study, "new", header(CELLS["untouched"]), nll=float("nan"))


def test_numbers_as_keys_and_tuples_are_sealed_as_they_are_read(study: Path) -> None:
    write(study, "untouched", header(CELLS["untouched"]), layers={9: (1, 2), 10: (3,)})
    assert read_result(study / "untouched" / DOCUMENT, "train").body["layers"] == {"9": [1, 2], "10": [3]}


def test_an_altered_file(study: Path) -> None:
    path = study / "baseline" / "42" / DOCUMENT
    path.write_text(path.read_text().replace("3.25", "3.15"))
    with pytest.raises(DataError, match="was altered after it was written"):
        admitted(study, "train", CELLS)


def test_missing_cells_and_extra_directories(study: Path) -> None:
    shutil.copytree(study / "untouched", study / "stale-s7")
    with pytest.raises(DataError, match="holds, beside the declared cells, stale-s7"):
        admitted(study, "train", CELLS)
    shutil.rmtree(study / "stale-s7")
    shutil.rmtree(study / "untouched")
    with pytest.raises(DataError, match="lacks untouched"):
        admitted(study, "train", CELLS)
    with pytest.raises(DataError, match="lacks baseline/1337, "):
        admitted(study / "nowhere", "train", CELLS)


def test_a_result_copied_to_another_seed(study: Path) -> None:
    shutil.copy(study / "baseline" / "42" / DOCUMENT, study / "baseline" / "1337" / DOCUMENT)
    with pytest.raises(DataError, match=r"is of arm 'baseline' and seed 42") as caught:
        admitted(study, "train", CELLS)
    assert caught.value.fix.endswith(
        "baseline/1337/result.json again, the result of train: dvc repro -f pipelines/pile_ffn/dvc.yaml"
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"spec_digest": "z" * 64}, "spec_digest of the study"),
        ({"data": Data(id="mini", revision="0" * 40, slice_digest="other")}, "slice_digest of seed 42"),
        ({"inputs": {"artifacts/pile_ffn/tokens/manifest.json": "z"}}, "digest of the input of artifacts"),
    ],
)
def test_mixtures(study: Path, changes: dict, said: str) -> None:
    write(study, "nonneg_mlp_both-s42", header(CELLS["nonneg_mlp_both-s42"], **changes))
    with pytest.raises(DataError, match=said):
        admitted(study, "train", CELLS)


def test_arms_of_a_seed_have_the_same_tokens(study: Path) -> None:
    write(study, "nonneg_mlp_both-s42", header(CELLS["nonneg_mlp_both-s42"]), tokens=131_072)
    with pytest.raises(DataError, match="tokens of seed 42 is 65536 in baseline-s42 and 131072 in nonneg_mlp_both-s42"):
        admitted(study, "train", CELLS, alike=("tokens",))
    # Negative control: what is not declared alike may differ.
    admitted(study, "train", CELLS)


def test_two_seeds_on_one_slice_are_no_replicates(study: Path) -> None:
    for name, cell in CELLS.items():
        if cell.seed is not None:
            write(study, name, header(cell, data=Data(id="mini", revision="0" * 40, slice_digest="one")))
    with pytest.raises(DataError, match="seed of the slice of one is 1337 in baseline-s1337 and 42 in baseline-s42"):
        admitted(study, "train", CELLS)


def test_a_header_without_a_part(study: Path) -> None:
    from trackyard.digest import digest_json

    path = study / "untouched" / DOCUMENT
    document = json.loads(path.read_text())
    del document["digest"], document["schema"], document["header"]["arm"]
    path.write_text(json.dumps({"schema": "trackyard-pile-ffn-train/1"} | document | {"digest": digest_json(document)}))
    with pytest.raises(DataError, match="misstates a part of its header"):
        read_result(path, "train")


def test_a_claim_of_monotonicity_is_refused(study: Path) -> None:
    write(study, "untouched", header(CELLS["untouched"], globally_monotonic=True))
    with pytest.raises(DataError, match="globally_monotonic"):
        read_result(study / "untouched" / DOCUMENT, "train")
