"""What is read out of the spools of a run, whatever attempts it took."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trackyard.errors import DataError
from trackyard.recipes.pile_ffn.arms.trained import COLUMNS, history
from trackyard.recipes.running.history import history_csv


def spool(directory: Path, attempt: int, steps: Sequence[int], *, skipped: Sequence[int] = ()) -> None:
    lines = []
    for step in steps:
        values = {"train/skipped": float(step in skipped), "train/learning_rate/others": step / 100}
        if step not in skipped:
            values |= {"train/loss": attempt + step / 10, "train/gradient_norm": 0.5}
        lines.append({"event": "metrics", "step": step, "values": values})
    lines += [{"event": "metrics", "step": 3, "values": {"validation/loss": 9.0}}, {"event": "status", "state": "x"}]
    directory.mkdir(exist_ok=True)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (directory / f"attempt-{attempt:04d}.jsonl").write_text(text)


def read(directory: Path, steps: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    job: Any = SimpleNamespace(steps=steps, again="again", plan=SimpleNamespace(windows_per_step=4, window=32))
    run: Any = SimpleNamespace(path=directory.parent, spool=directory)
    return history(job, run)


def test_of_a_repeated_step_the_last_word_counts(tmp_path: Path) -> None:
    spool(tmp_path / "spool", 1, range(1, 6))
    spool(tmp_path / "spool", 3, range(4, 7), skipped=[5])
    rows, resumes = read(tmp_path / "spool", 6)
    assert [(row["step"], row["train_nll"]) for row in rows] == [(1, 1.1), (2, 1.2), (3, 1.3), (4, 3.4), (6, 3.6)]
    assert resumes == [{"attempt": 3, "step": 3}]
    assert rows[-1] == {
        "step": 6, "tokens": 6 * 128, "lr": 0.06, "train_nll": 3.6, "val_nll": None, "grad_norm": 0.5,
        "tokens_per_s": None,
    }  # fmt: skip


def test_an_attempt_that_took_no_step_is_no_resume(tmp_path: Path) -> None:
    spool(tmp_path / "spool", 1, [])
    spool(tmp_path / "spool", 2, range(1, 4))
    spool(tmp_path / "spool", 3, [])
    assert read(tmp_path / "spool", 3)[1] == []


def test_gaps_are_refused(tmp_path: Path) -> None:
    spool(tmp_path / "spool", 1, [1, 3])
    with pytest.raises(DataError, match=r"hold 2 of 3 steps, 2 with a loss"):
        read(tmp_path / "spool", 3)
    spool(tmp_path / "spool", 1, [1, 2, 3], skipped=[1, 2, 3])
    with pytest.raises(DataError, match=r"hold 3 of 3 steps, 0 with a loss"):
        read(tmp_path / "spool", 3)


def test_the_table_has_a_line_a_step() -> None:
    row = {"step": 1, "tokens": 2, "lr": 0.5, "train_nll": 1.25, "val_nll": None, "grad_norm": 2.0, "tokens_per_s": 3.0}
    assert (
        history_csv(COLUMNS, [row])
        == "step,tokens,lr,train_nll,val_nll,grad_norm,tokens_per_s\n1,2,0.5,1.25,,2.0,3.0\n"
    )
