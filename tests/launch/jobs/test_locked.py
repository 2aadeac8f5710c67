"""What DVC refuses while a job works with a stage is told as that, and not as a file of stages that cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from trackyard.errors import ConfigError, TrackyardError
from trackyard.launch.jobs.committing import changes


def test_what_dvc_refuses_at_work_names_the_stage_and_what_it_refused(done: Path) -> None:
    """The stage is read before its parameters are, which stand in a file of their own."""
    text = (done / "dvc.yaml").read_text()
    (done / "dvc.yaml").write_text(text.replace("params: [toy.rate, toy.size]", "params: [{rates.yaml: [rate]}]"))
    lock = yaml.safe_load((done / "dvc.lock").read_text())
    lock["stages"]["first"]["params"] = {"rates.yaml": {"rate": 1}}
    (done / "dvc.lock").write_text(yaml.safe_dump(lock))
    (done / "rates.yaml").write_text("rate: 1")
    assert changes(done, "first") == [], "the stage as it is"
    (done / "rates.yaml").write_text("rate: [")
    with pytest.raises(TrackyardError, match=r"DVC failed with the files of first: .*'rates\.yaml'") as raised:
        changes(done, "first")
    assert raised.value.exit_code == 1


def test_a_file_of_stages_that_cannot_be_read_is_told_as_that(done: Path) -> None:
    (done / "dvc.yaml").write_text("stages: [")
    with pytest.raises(ConfigError, match="DVC cannot read the stages"):
        changes(done, "other")
