"""The last stage as a whole: what it puts out, what it says, and what never gets into it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.recipes.datacomp.report.made_results import RIGHT, made_study, write_study
from trackyard.errors import DataError
from trackyard.recipes.datacomp.cells import ALL
from trackyard.recipes.datacomp.report.claims import MarginMissed
from trackyard.recipes.datacomp.report.comparing import REPORT, STAGE, SUMMARY, compare
from trackyard.recipes.datacomp.results import read_result
from trackyard.recipes.datacomp.study import Study
from trackyard.record.metrics_file import read_metrics

SECRET = "hf_" + "CaNaRy" * 6
PERSON = "someone.private@example.org"


class Done:
    def __init__(self, root: Path) -> None:
        self.study: Study = made_study(root, seeds=(42, 1337))
        self.said: list[str] = []

        def leaking(name: str, cell: str, body: dict[str, Any]) -> None:
            if name == "metadata":
                body["origin"]["kind"] = f"files https://someone:{SECRET}@example.org/a?token={SECRET}"

        write_study(self.study, leaking)
        # Not before: with the token in the environment nothing that holds it is written.
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HF_TOKEN", SECRET)
            patch.setenv("EMAIL", PERSON)
            patch.setenv("HOME", "/home/someone-private")
            compare(self.study, self.said.append)

    @property
    def files(self) -> list[Path]:
        folders = (self.study.artifacts / "results", self.study.artifacts / "card")
        return sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    return Done(tmp_path_factory.mktemp("study"))


def test_the_summary_has_the_keys_of_the_specification(done: Done) -> None:
    found = read_result(done.study.artifacts / "results" / SUMMARY, STAGE)
    assert found.header.cell == ALL
    assert {"table", "paired", "collisions", "verdict"} <= found.body.keys()
    assert {"a", "b", "benchmark", "diff", "ci95", "mcnemar_p", "holm_p"} <= found.body["paired"][0].keys()
    assert found.body["collisions"] == []
    assert found.body["verdict"]["admissible"] == []
    assert len(found.body["table"]) == 2 * 7
    assert all(margin["reached"] for margin in found.body["verdict"]["margins"])
    assert len(found.header.inputs) == found.body["examined"]["results"]


def test_numbers_for_dvc_and_mlflow(done: Done) -> None:
    results, cells = done.study.artifacts / "results", done.study.parameters.trained_cells
    assert set(read_metrics(results / "metrics.json")) == {"study", *done.study.parameters.evaluated}
    assert {path.stem for path in (results / "curves").iterdir()} == set(cells)
    (run,) = (done.study.runs / "datacomp" / "study").iterdir()
    assert {path.name for path in (run / "results").iterdir()} == {
        SUMMARY, REPORT, "metrics.json", "accuracy.png", "training.png",
    }  # fmt: skip


def test_what_a_person_sees(done: Done) -> None:
    told = "\n".join(done.said)
    for arm in RIGHT:
        assert any(line.startswith(arm) for line in done.said), arm
    assert "VSR: no claim: 2 seeds where 3 are needed" in told
    assert "world beats zero_latents by 0.3 on captions at seed 42: +0.583" in told
    assert "resolvable: differences below these points are not resolvable on one run: VSR" in told
    assert "4 training runs have these numbers beside their curves" in told
    assert told.endswith("artifacts/datacomp/results/report.md, and 4 cards below artifacts/datacomp/card")


def test_the_report_shows_its_figures_and_they_show_something(done: Done) -> None:
    text = (done.study.artifacts / "results" / REPORT).read_text()
    for name in ("accuracy.png", "training.png"):
        assert f"]({name})" in text
        with Image.open(done.study.artifacts / "results" / name) as image:
            assert np.asarray(image.convert("L")).std() > 5
    assert "| world - shuffled_latents" not in text
    assert "| world-42 - shuffled_latents-42 | VSR | +0.617 [" in text
    assert "nan" not in text.lower()


def test_no_secret_no_person_and_no_home_is_in_any_file(done: Done) -> None:
    assert len(done.files) == 2 + 4 + 4 + 1 + len(done.study.parameters.trained_cells)
    words = (SECRET, PERSON, "/home/someone-private", "someone:", str(Path.home()) + "/", str(done.study.root))
    for path in done.files:
        data = path.read_bytes()
        assert not [word for word in words if word.encode() in data], path
    assert any(b"tiny-gemma3" in path.read_bytes() for path in done.files)
    assert SECRET not in "".join(done.said)


def test_the_same_results_give_the_same_files(done: Done) -> None:
    def content() -> dict[str, bytes | Any]:
        found: dict[str, bytes | Any] = {path.name + path.parent.name: path.read_bytes() for path in done.files}
        summary = json.loads(found.pop(f"{SUMMARY}results"))
        return found | {"body": summary["body"]}

    before = content()
    compare(done.study, lambda line: None)
    assert content() == before


def test_a_margin_that_is_missed_fails_the_stage_after_its_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RIGHT, "world", 30)
    study = made_study(tmp_path, seeds=(42,))
    write_study(study)
    said: list[str] = []
    with pytest.raises(MarginMissed, match=r"\+0\.183 over zero_latents at seed 42, \+0\.217 over shuffled_latents"):
        compare(study, said.append)
    assert "does not beat zero_latents by 0.3" in (study.artifacts / "results" / REPORT).read_text()
    assert any(line.startswith("world") for line in said)


def test_what_may_not_be_compared_leaves_nothing(tmp_path: Path) -> None:
    study = made_study(tmp_path, seeds=(42,))
    write_study(study, lambda name, cell, body: body.update(errors=2) if name == "eval_vsr" else None)
    with pytest.raises(DataError, match="counts 2 errors"):
        compare(study, lambda line: None)
    assert not (study.artifacts / "results").exists()
