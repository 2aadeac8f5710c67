"""`trackyard lineage` as it is typed: a tree with licences, lines of a proof, a page; refusals with their exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.record.lineage.stage_world import TABLE, copied, make_stage_world
from trackyard.cli.main import main
from trackyard.record.image import IMAGE_FILE_VARIABLE


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_stage_world(tmp_path_factory.mktemp("stages") / "made").root


@pytest.fixture
def root(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(IMAGE_FILE_VARIABLE, raising=False)
    monkeypatch.chdir(copied(made, tmp_path / "checkout"))
    return Path.cwd()


def typed(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["trackyard", "lineage", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_show_prints_the_tree_the_licences_and_what_was_not_hashed(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / TABLE / "table.csv").write_text("changed, which only a hash can tell")
    assert typed(monkeypatch, "show", TABLE) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"made {TABLE}"
    assert any(line.startswith("web ") and " unknown " in line for line in lines)
    assert lines[-1].startswith("This is what the records say; no data, weights or results were hashed.")
    assert lines[-1].endswith(f": trackyard lineage verify {TABLE}")
    assert typed(monkeypatch, "show", TABLE, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["links"][0]["name"] == f"made {TABLE}"


def test_verify_prints_each_link_and_the_sum(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(monkeypatch, "verify", TABLE) == 0
    *proved, total = capsys.readouterr().out.splitlines()
    assert all(line.startswith("proved ") for line in proved)
    assert total.startswith(f"{len(proved)} links proved, 0 taken on trust, ")
    assert total.endswith(" hashed")


def test_what_is_trusted_is_named_as_such(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # The package came into src/ after the runs.
    assert typed(monkeypatch, "verify", "artifacts/stage2") == 1
    assert "link 'code' is wrong" in capsys.readouterr().err
    assert typed(monkeypatch, "verify", "artifacts/stage2", "--trust", "code") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[0] for line in lines if line.startswith("trusted ")] == ["trusted code", "trusted parent"]
    assert ", 2 taken on trust, " in lines[-1]


def test_a_changed_byte_ends_with_exit_code_1_and_the_name(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / TABLE / "table.csv").write_text("changed")
    assert typed(monkeypatch, "verify", TABLE) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert f"link 'made {TABLE}' is wrong" in told.err
    assert typed(monkeypatch, "verify", TABLE, "--trust", "made", "--trust", "stage") == 0
    assert "trusted stage toy:table" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("verify", TABLE, "--trust", "snapshots"), "made, checkpoint, run, plan, snapshot, model, code, image, stage"),
        (("show", "artifacts/nothing"), "no stage puts out artifacts/nothing"),
        (("graph", "README.md"), TABLE),
    ],
)
def test_wrong_usage_ends_with_exit_code_2(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...], told: str,
) -> None:  # fmt: skip
    assert typed(monkeypatch, *arguments) == 2
    assert told in capsys.readouterr().err


def test_graph_writes_the_page_and_says_where(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(monkeypatch, "graph", TABLE, "--out", "page.html") == 0
    assert capsys.readouterr().out == "page.html\n"
    page = (root / "page.html").read_text()
    assert "<svg" in page
    assert str(root) not in page
    assert typed(monkeypatch, "graph", "artifacts/stage2") == 0
    assert (root / "chain.html").is_file()
