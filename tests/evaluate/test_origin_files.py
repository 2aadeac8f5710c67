import json
from pathlib import Path
from typing import Any

import pytest

from trackyard.errors import DataError
from trackyard.evaluate.origin_files import read_origin


def write(
    folder: Path, ids: range, *, rank: int | None = None, ranks: int = 1, kind: str = "exp5", **changed: Any
) -> Path:
    ending = "" if rank is None else f"_rank{rank}"
    stem = "exp5_accuracy_results" if kind == "exp5" else "exp6_latency"
    path = folder / f"{stem}_crops2_topk4_blocks12{ending}.json"
    samples = [
        {"sample_id": each, "score": float(each % 2), "T_total_ms": 100.0 + each, "pred": "down"} for each in ids
    ]
    document = {
        "summary": [{"max_crops": 2, "accuracy": 0.5, "num_samples": len(samples)}],
        ("all_samples" if kind == "exp5" else "per_sample_latencies"): samples,
        "config": {"max_crops": 2, "top_k": 4, "num_active_blocks": 12, "world_size": ranks, "rank": rank or 0},
    }
    path.write_text(json.dumps(document | changed))
    return path


def test_ranks_are_merged_by_id(tmp_path: Path) -> None:
    for rank in range(4):
        write(tmp_path, range(rank, 20, 4), rank=rank, ranks=4)
    write(tmp_path, range(20), kind="exp6")
    (tmp_path / "exp5_accuracy_results.json").write_text("{}")  # the summary of all configurations
    accuracy, latency = read_origin(tmp_path, expected=20)
    assert (accuracy.kind, accuracy.visual, accuracy.experts, accuracy.blocks) == ("accuracy", 2, 4, 12)
    assert sum(accuracy.values("score")) == 10
    assert latency.kind == "latency"
    assert max(latency.values("T_total_ms")) == 119
    with pytest.raises(DataError, match="20 samples without a number 'pred', 0 first"):
        accuracy.values("pred")


def test_one_rank_is_not_the_result(tmp_path: Path) -> None:
    write(tmp_path, range(0, 20, 4), rank=0, ranks=4)
    with pytest.raises(DataError, match="5 of 20 samples; no file of rank 1, 2, 3 of 4"):
        read_origin(tmp_path, expected=20)
    # Even where its samples are as many as the caller expects.
    with pytest.raises(DataError, match="no file of rank 1, 2, 3 of 4"):
        read_origin(tmp_path, expected=5)


def test_fewer_samples_than_the_data_set_has_are_refused(tmp_path: Path) -> None:
    write(tmp_path, range(19))
    with pytest.raises(DataError, match="19 of 20 samples"):
        read_origin(tmp_path, expected=20)


def test_padding_is_one_and_ids_of_ranks_are_refused(tmp_path: Path) -> None:
    write(tmp_path, range(10), rank=0, ranks=2)
    write(tmp_path, range(9, 20), rank=1, ranks=2)  # the sampler's padding: sample 9 again, the same
    assert len(read_origin(tmp_path, expected=20)[0].samples) == 20
    other = write(tmp_path, range(10), rank=1, ranks=2)
    document = json.loads(other.read_text())
    document["all_samples"][3]["pred"] = "up"
    other.write_text(json.dumps(document))
    with pytest.raises(DataError, match="sample 3 is there twice"):
        read_origin(tmp_path, expected=20)


@pytest.mark.parametrize(
    "changed",
    [
        {"summary": []},
        {"all_samples": [{"score": 1.0}]},
        {"all_samples": []},
        {"config": {"max_crops": 12}},
        {"config": None},
        {"config": {"world_size": "many"}},
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path: Path, changed: dict[str, Any]) -> None:
    path = write(tmp_path, range(20), **changed)
    with pytest.raises(DataError, match=path.name):
        read_origin(tmp_path, expected=20)


def test_a_cut_file_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no result file"):
        read_origin(tmp_path, expected=20)
    path = write(tmp_path, range(20))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match="is no result file: JSONDecodeError"):
        read_origin(tmp_path, expected=20)
