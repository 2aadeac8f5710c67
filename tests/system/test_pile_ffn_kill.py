"""A training of the Pile-FFN track that is killed with -9 ends with the export of one that was not. Spec row 14."""

from __future__ import annotations

import csv
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.recipes.pile_ffn.tiny_study import tiny_study, values
from tests.system.commands import digests
from tests.system.repository import SOURCE, Repository
from trackyard.recipes.pile_ffn.arms.declaring import init
from trackyard.recipes.pile_ffn.cells import Cell
from trackyard.recipes.pile_ffn.results import Result, read_result
from trackyard.recipes.pile_ffn.study import Study

pytestmark = pytest.mark.system

CELL = Cell(arm="nonneg_mlp_both", seed=42)
STEPS, SAVE_EVERY = 200, 10
"""So many that the end is far away when the second checkpoint is noticed."""
TRAINING = {"steps": STEPS, "windows_per_step": 1, "save_every": SAVE_EVERY}
ENGINE = {"micro_batch": 1, "log_every": 10}


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A root in which `CELL` was trained. killed_at: the newest checkpoint when the kill came, None for no kill."""

    study: Study
    killed_at: int | None

    @property
    def result(self) -> Result:
        return read_result(self.study.document("train", CELL), "train")

    @property
    def history(self) -> list[dict[str, str]]:
        """As it was written, without how fast it was."""
        with open(self.study.place("train", CELL) / "history.csv", encoding="utf-8") as file:
            return [{key: value for key, value in row.items() if key != "tokens_per_s"} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, Trained]:
    """The same study twice: trained at one go, and killed in training and then run again."""
    roots = [tmp_path_factory.mktemp(name) / "root" for name in ("whole", "killed")]
    studies = [prepared(root) for root in roots]
    repositories = [Repository(path=root) for root in roots]
    command = ("run", "pile_ffn", "train", CELL.name)
    ended = repositories[0].trackyard(*command)
    assert ended.code == 0, ended
    with repositories[1].started(*command) as running:
        running.wait_for(lambda: len(checkpoints(studies[1])) >= 2, "second checkpoint")
        running.kill()
        assert running.process.returncode == -9, running.end()
    killed_at = checkpoints(studies[1])[-1]
    assert not studies[1].document("train", CELL).exists()
    assert not studies[1].export(CELL).exists()
    ended = repositories[1].trackyard(*command)
    assert ended.code == 0, ended
    return Trained(study=studies[0], killed_at=None), Trained(study=studies[1], killed_at=killed_at)


def prepared(root: Path) -> Study:
    """All that the train stage reads, made without a training."""
    root.mkdir()
    study = tiny_study(root, training=TRAINING, engine=ENGINE)
    init(study, lambda line: None)
    changes = {"training": TRAINING, "engine": ENGINE}
    (root / "params.yaml").write_text(yaml.safe_dump({"pile_ffn": values("gpt_neox", changes)}))
    shutil.copytree(SOURCE / "sites", root / "sites")
    return study


def checkpoints(study: Study) -> list[int]:
    """Steps of the complete ones."""
    return sorted(int(path.parent.name[5:]) for path in study.runs.glob("pile_ffn/train/*/checkpoints/*/COMPLETE"))


def test_the_kill_hit_training_and_the_run_went_on(trained: tuple[Trained, Trained]) -> None:
    whole, killed = trained
    assert killed.killed_at is not None
    assert SAVE_EVERY <= killed.killed_at < STEPS
    assert whole.result.body["resumes"] == []
    assert killed.result.body["resumes"] == [{"attempt": 2, "step": killed.killed_at}]
    assert killed.result.header.run_id == whole.result.header.run_id


def test_the_exports_are_the_same_byte_for_byte(trained: tuple[Trained, Trained]) -> None:
    whole, killed = (digests(one.study.export(CELL)) for one in trained)
    assert whole == killed
    assert {"fp32/model.safetensors", "bf16/model.safetensors", "fp32/config.json", "fp32/tokenizer.json"} <= set(whole)
    start = digests(trained[0].study.export(Cell(arm="untouched", seed=None)))
    assert whole["fp32/model.safetensors"] != start["fp32/model.safetensors"], "nothing was trained"


def test_histories_audits_and_losses_are_the_same(trained: tuple[Trained, Trained]) -> None:
    whole, killed = trained
    assert [int(row["step"]) for row in whole.history] == list(range(1, STEPS + 1))
    assert killed.history == whole.history
    for key in ("final", "audit", "movement", "verified", "plan"):
        assert killed.result.body[key] == whole.result.body[key], key
