"""One label of a metrics.json, or a refusal that names what is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from trackyard.errors import DataError
from trackyard.recipes.reporting.labelled import labelled_metrics
from trackyard.record.metrics_file import write_metrics


def test_a_label_or_what_is_there_instead(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    write_metrics(path, {"stage1": {"train/loss": 0.5}})
    assert labelled_metrics(path, "stage1", fix="dvc repro stage1") == {"train/loss": 0.5}
    with pytest.raises(DataError, match=r"metrics\.json has stage1, and no 'stage2'") as error:
        labelled_metrics(path, "stage2", fix="dvc repro stage2")
    assert error.value.fix == "dvc repro stage2"
