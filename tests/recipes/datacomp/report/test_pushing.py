"""A push is off by default, and sends only what a dry run has shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recipes.datacomp.report.made_results import made_study
from trackyard.errors import ConfigError, DataError
from trackyard.publish.push import PushPlan
from trackyard.recipes.datacomp.cells import Cell
from trackyard.recipes.datacomp.report import pushing
from trackyard.recipes.datacomp.report.card import card_path
from trackyard.recipes.datacomp.report.pushing import push_export
from trackyard.recipes.datacomp.study import Study

CELL = Cell(name="world", seed=42)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    made = made_study(tmp_path, publish__repo="someone/export")
    for path, text in (
        (card_path(made, CELL), "# Card\n"),
        (made.export(CELL) / "world_config.json", "{}"),
        (made.export(CELL) / "model.safetensors", "weights"),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return made


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[PushPlan]:
    found: list[PushPlan] = []

    def take(plan: PushPlan, *, endpoint: str | None) -> str:
        found.append(plan)
        return "c" * 40

    monkeypatch.setattr(pushing, "push", take)
    return found


def test_a_push_follows_its_dry_run(study: Study, sent: list[PushPlan]) -> None:
    said: list[str] = []
    with pytest.raises(ConfigError, match="no dry run has shown these files") as caught:
        push_export(study, CELL, said.append, dry_run=False)
    assert caught.value.fix == "trackyard run datacomp push world-42 --dry-run"
    push_export(study, CELL, said.append, dry_run=True)
    assert sent == []
    assert "3 files, 16 bytes, would go to someone/export, private; nothing was sent" in said[-1]
    push_export(study, CELL, said.append, dry_run=False)
    assert [file.name for file in sent[0].files] == ["README.md", "model.safetensors", "world_config.json"]
    assert "c" * 40 in said[-1]


def test_other_bytes_need_another_dry_run(study: Study, sent: list[PushPlan]) -> None:
    push_export(study, CELL, lambda line: None, dry_run=True)
    (study.export(CELL) / "model.safetensors").write_text("others")
    with pytest.raises(ConfigError, match="no dry run"):
        push_export(study, CELL, lambda line: None, dry_run=False)
    assert sent == []


def test_nothing_is_published_by_default(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"datacomp\.publish\.repo is not set"):
        push_export(made_study(tmp_path), CELL, lambda line: None, dry_run=True)


def test_an_export_without_its_card_is_not_published(study: Study) -> None:
    card_path(study, CELL).unlink()
    with pytest.raises(DataError, match=r"README\.md cannot be read"):
        push_export(study, CELL, lambda line: None, dry_run=True)
