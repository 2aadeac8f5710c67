"""What a stage says while it runs."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from trackyard.recipes.molmo2.stage import logging_to


def test_a_warning_reaches_the_terminal_and_everything_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = logging.getLogger("trackyard.recipes.molmo2.training")
    with logging_to(tmp_path / "log.txt"):
        log.info("resumed from step 3")
        log.warning("checkpoint step-00000006 is not used")
    log.warning("after the block")
    assert capsys.readouterr().err.count("warning: checkpoint step-00000006 is not used") == 1
    written = (tmp_path / "log.txt").read_text()
    assert "resumed from step 3" in written
    assert "step-00000006" in written
    assert "after the block" not in written
