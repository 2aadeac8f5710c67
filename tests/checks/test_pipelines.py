"""Pipelines that DVC would mishandle are found; sound ones pass."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from dvc.repo import Repo

from checks.pipelines import examine, main
from trackyard.launch.sites import Need

SOUND = {
    "dvc.yaml": (
        "stages:\n  stage1:\n    cmd: 'true'\n    meta: {needs: train}\n    deps:\n    - containers/image.lock.json\n"
        "    outs:\n    - artifacts/one\n"
    ),
    "pipelines/pile/dvc.yaml": (
        "stages:\n  sweep:\n    foreach: [1, 2]\n    do:\n      wdir: ../..\n      cmd: echo ${item}\n"
        "      meta: {needs: cpu, divided: true}\n"
        "      outs:\n      - artifacts/pile/${item}\n"
    ),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    subprocess.run(["git", "-C", str(tmp_path), "init", "-q"], check=True)
    Repo.init(str(tmp_path)).close()
    for name, text in SOUND.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_sound_pipelines_pass_and_are_counted(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = examine(root)
    assert (report.files, report.stages, report.problems) == (tuple(sorted(SOUND)), 3, ())
    assert main(root) == 0
    assert capsys.readouterr().out == "pipelines: 2 dvc.yaml and 3 stages examined, 0 problems\n"


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("sub/dvc.yaml", "stages:\n  stage1:\n    cmd: 'true'\n", "'stage1' is used in dvc.yaml and sub/dvc.yaml"),
        ("sub/dvc.yaml", "stages:\n  w:\n    cmd: 'true'\n    outs: [../data/x]\n", "writes '../data/x' below data/"),
        (
            "sub/dvc.yaml",
            "stages:\n  w:\n    wdir: ..\n    cmd: 'true'\n    outs: [data]\n",
            "writes 'data' below data/",
        ),
        ("sub/dvc.yaml", "stages:\n  w:\n    cmd: 'true'\n    outs: [${item}]\n", "dvc cannot load"),
        ("sub/dvc.yaml", "stages:\n  w:\n    command: 'true'\n", "dvc cannot load"),
        ("sub/dvc.yaml", "stages:\n  w:\n    cmd: 'true'\n    outs: [../artifacts/one/x]\n", "dvc cannot load"),
        ("sub/dvc.yaml", "stages: {}\n", "sub/dvc.yaml gives no stage"),
        ("sub/dvc.yaml", "stages:\n  w:\n    cmd: 'true'\n", "stage w: meta.needs: Field required"),
        (
            "sub/dvc.yaml",
            "stages:\n  w:\n    cmd: 'true'\n    meta: {needs: tpu}\n",
            "stage w: meta.needs: Input should be 'train', 'gpu', 'cpu' or 'network'",
        ),
        ("sub/dvc.yaml", "stages:\n  w:\n    cmd: 'true'\n    meta: {needs: cpu, parts: 3}\n", "meta.parts: Extra"),
        (
            "sub/dvc.yaml",
            "stages:\n  w:\n    cmd: 'true'\n    meta: {needs: gpu}\n",
            "'w' needs gpu, so it may run in an image, and does not depend on containers/image.lock.json",
        ),
        (
            "sub/dvc.yaml",
            "stages:\n  w:\n    wdir: ..\n    cmd: 'true'\n    meta: {needs: network}\n"
            "    deps: [containers/image.lock.json]\n",
            "'w' needs network, so it runs in no image, and depends on containers/image.lock.json",
        ),
    ],
)
def test_each_fault_is_found(root: Path, name: str, text: str, problem: str) -> None:
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_text(text)
    assert any(problem in told for told in examine(root).problems), examine(root).problems
    assert main(root) == 1


def test_two_pipelines_may_share_a_name(root: Path) -> None:
    """DVC finds a bare name in the root's file alone: those of other files are given with the file."""
    (root / "sub").mkdir()
    (root / "sub" / "dvc.yaml").write_text("stages:\n  sweep:\n    cmd: 'true'\n    meta: {needs: cpu}\n")
    assert examine(root).problems == ()
    argv = [sys.executable, "-m", "dvc", "repro", "sweep"]
    ended = subprocess.run(argv, cwd=root, capture_output=True, text=True, check=False)
    assert ended.returncode != 0
    assert "'sweep' not found" in ended.stderr or "does not exist" in ended.stderr


def test_no_pipeline_at_all_is_a_failure(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in SOUND:
        (root / name).unlink()
    assert main(root) == 1
    assert "no dvc.yaml found" in capsys.readouterr().err


def test_a_name_of_the_root_may_be_that_of_a_stage_it_needs(root: Path) -> None:
    (root / "sub").mkdir()
    need = "    meta: {needs: cpu}\n"
    (root / "sub" / "dvc.yaml").write_text(f"stages:\n  all:\n    cmd: 'true'\n{need}    outs: [one]\n")
    whole = f"  all:\n    cmd: 'true'\n{need}    deps: [%s]\n    outs: [artifacts/all]\n"
    (root / "dvc.yaml").write_text(SOUND["dvc.yaml"] + whole % "sub/one")
    assert examine(root).problems == ()
    (root / "dvc.yaml").write_text(SOUND["dvc.yaml"] + whole % "artifacts/one")
    (problem,) = examine(root).problems
    assert "'all' is used in dvc.yaml and sub/dvc.yaml" in problem


def test_another_image_runs_again_what_runs_in_it_and_nothing_else(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pains 11, with DVC itself: the lock of the images is a dependency of `train` and `gpu` alone."""
    stage = "  {0}:\n    cmd: echo {0} > {0}.txt\n    meta: {{needs: {0}}}\n{1}    outs: [{0}.txt]\n"
    locked = "    deps: [containers/image.lock.json]\n"
    for name in SOUND:
        (root / name).unlink()
    (root / "dvc.yaml").write_text(
        "stages:\n" + "".join(stage.format(need, locked if need in ("train", "gpu") else "") for need in get_args(Need))
    )
    lock = root / "containers" / "image.lock.json"
    lock.parent.mkdir()
    lock.write_text("{}")
    assert examine(root).problems == ()
    monkeypatch.chdir(root)
    with Repo(str(root)) as repo:
        repo.reproduce()
        assert repo.status() == {}
        lock.write_text('{"images": {}}')
        assert set(repo.status()) == {"train", "gpu"}
