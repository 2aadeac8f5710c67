"""Planning values, and the measured ones that take their place: only of the same parameters, and of the same device."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recipes.datacomp.cost.studies import made, profile
from trackyard.estimate.devices import DEVICES
from trackyard.recipes.datacomp.cost.planning import ROWS_PER_S, measured, planned
from trackyard.recipes.datacomp.parameters import DatacompParameters
from trackyard.recipes.datacomp.results import Base, Header, write_result
from trackyard.recipes.datacomp.study import Study

H200 = DEVICES["h200"]


def record(study: Study, result: str, device: str, key: str, rate: float, spec: str | None = None) -> None:
    path = study.document(result)
    path.parent.mkdir(parents=True, exist_ok=True)
    header = Header(
        run_id="x", spec_digest=spec or study.spec_digest(result), git_commit="x", image_digest="none", libs={},
        base=Base(gemma="g@made", vae="v@made", vae_digest=None), cell=result, seed=None, inputs={}, device=device,
        wall_s=1.0,
    )  # fmt: skip
    write_result(path, result, header, {key: rate})


def study_in(folder: Path, parameters: DatacompParameters) -> Study:
    return Study(root=folder, parameters=parameters)


def test_encoding_takes_what_was_published_on_a_fast_gpu() -> None:
    """theworld spec section 17: 50 to 100 ms, unbatched; an A100 is slower in fp32, a made encoder is small."""
    study = profile("theworld-100k")
    h200, a100 = (planned(study, DEVICES[name]).encode_s for name in ("h200", "a100-80"))
    assert 0.03 < h200 < 0.1
    assert a100 / h200 == pytest.approx(67 / 19.5)
    assert planned(made(), DEVICES["cpu"]).encode_s < 0.1


def test_without_results_everything_is_planned(tmp_path: Path) -> None:
    study = study_in(tmp_path, profile("theworld-100k"))
    assert measured(study, H200) == planned(study.parameters, H200)


def test_a_download_and_an_encoding_of_these_parameters_count(tmp_path: Path) -> None:
    study = study_in(tmp_path, profile("theworld-100k"))
    record(study, "download", "cpu", "rows_per_s", 210.0)
    record(study, "latents", "NVIDIA H200", "images_per_s", 40.0)
    found = measured(study, H200)
    assert (found.rows_per_s, found.encode_s) == (210.0, 1 / 40)
    assert set(found.measured) == {"rows_per_s", "images_per_s"}


def test_results_of_other_parameters_or_another_device_do_not(tmp_path: Path) -> None:
    study = study_in(tmp_path, profile("theworld-100k"))
    record(study, "download", "cpu", "rows_per_s", 9_000.0, spec="of the mini source, on loopback")
    record(study, "latents", "cpu", "images_per_s", 0.5)
    found = measured(study, H200)
    assert found.rows_per_s == ROWS_PER_S
    assert found.measured == {}
