"""Pipelines side by side: all are tried, and one that fails stops `make demo-all` before the report."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DVC = """#!/bin/sh
echo "out $*" && echo "err $*" >&2
case "$*" in *{failing}) exit 1 ;; esac
"""
BESIDE = ("stage3", "pipelines/pile_ffn/dvc.yaml", "pipelines/datacomp/dvc.yaml")


@pytest.mark.parametrize("failing", ["nothing", *BESIDE])
def test_pipelines_side_by_side(tmp_path: Path, failing: str) -> None:
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "data" / "mini" / "tulu").mkdir(parents=True)
    (tmp_path / "data" / "mini" / "tulu" / "manifest.json").touch()
    program = tmp_path / ".venv" / "bin" / "dvc"
    program.parent.mkdir(parents=True)
    program.write_text(DVC.format(failing=failing))
    program.chmod(0o755)
    argv = ["make", "--silent", "--old-file=setup", "demo-all"]
    ended = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False)
    printed = ended.stdout.splitlines()
    for target in BESIDE:
        for stream in ("out", "err"):
            assert f"{target}: {stream} --wait-for-lock repro {target}" in printed
    assert ended.returncode == (0 if failing == "nothing" else 2)
    assert ("out repro compare" in printed) == (failing == "nothing")
