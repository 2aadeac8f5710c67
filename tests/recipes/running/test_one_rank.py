"""What a rank says while it trains."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.recipes.running.tiny_job import TinyJob, final_weights
from trackyard.errors import EXIT_DONE, EXIT_USAGE
from trackyard.recipes.running.one_rank import logging_to, run_rank
from trackyard.record.rundir import open_or_create


def test_a_warning_reaches_the_terminal_and_everything_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = logging.getLogger("trackyard.recipes.running.training")
    with logging_to(tmp_path / "log.txt"):
        log.info("resumed from step 3")
        log.warning("checkpoint step-00000006 is not used")
    log.warning("after the block")
    assert capsys.readouterr().err.count("warning: checkpoint step-00000006 is not used") == 1
    written = (tmp_path / "log.txt").read_text()
    assert "resumed from step 3" in written
    assert "step-00000006" in written
    assert "after the block" not in written


@pytest.mark.usefixtures("one_rank")
def test_a_rank_trains_the_run_that_its_parent_has_prepared_and_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job, changed = TinyJob(root=tmp_path), TinyJob(root=tmp_path, seed=1)
    directory = open_or_create(tmp_path / "runs", job.spec)
    attempt = directory.new_attempt()
    assert run_rank(lambda: changed, attempt.number, job.spec.run_id) == EXIT_USAGE
    told = capsys.readouterr().err
    assert f"prepared run {changed.spec.run_id}, the run is {job.spec.run_id}" in told
    assert changed.built == []
    assert run_rank(lambda: job, attempt.number, job.spec.run_id) == EXIT_DONE
    assert final_weights(directory.path)
