"""A retry looks at inputs as its jobs will when they start, in a real repository. What it submits: test_following."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.launch.jobs.dvc_world import SITE
from tests.launch.slurm.fake_slurm import FakeSlurm
from trackyard.errors import TrackyardError
from trackyard.launch.jobs.from_dvc import Wanted
from trackyard.launch.jobs.retrying import retry
from trackyard.launch.jobs.store import Ended, Kept
from trackyard.launch.jobs.submitting import submit_stale
from trackyard.launch.slurm.client import SlurmClient


@pytest.fixture
def slurm() -> FakeSlurm:
    return FakeSlurm()


@pytest.fixture
def client(slurm: FakeSlurm) -> SlurmClient:
    return SlurmClient(slurm, sleep=slurm.sleep)


def ended(kept: Kept, slurm: FakeSlurm, name: str, exit_code: int) -> None:
    """As `trackyard work` ends a job, and then Slurm."""
    slurm_id = str(kept.submissions(name)[-1]["slurm_id"])
    state = "failed" if exit_code else "done"
    kept.note_ended(name, Ended(state=state, exit_code=exit_code, detail="", at="", slurm_id=slurm_id))  # type: ignore[arg-type]
    slurm.end(slurm_id, exit_code=exit_code)
    slurm.schedule()


def test_changed_inputs_are_told_before_anything_is_submitted_or_cancelled(
    fresh: Path, slurm: FakeSlurm, client: SlurmClient
) -> None:
    wanted = Wanted(targets=("second", "other"))
    kept = submit_stale(fresh, wanted, client, SITE, environment={}, approve=lambda graph: None)
    assert kept is not None
    slurm.schedule()
    ended(kept, slurm, "first", 0)
    ended(kept, slurm, "second", 1)
    submitted, text = list(slurm.submitted), (fresh / "params.yaml").read_text()
    (fresh / "params.yaml").write_text(text.replace("rate: 1", "rate: 9"))
    with pytest.raises(TrackyardError) as refused:
        retry(kept, client, SITE)
    assert refused.value.what == "inputs of second changed since it was submitted: params.yaml:toy.rate"
    assert "`trackyard submit second`" in refused.value.fix
    assert slurm.submitted == submitted
    assert slurm.count("scancel") == 0
    (fresh / "params.yaml").write_text(text)
    (fresh / "notes.txt").write_text("read by a job that is not retried")
    assert list(retry(kept, client, SITE)) == ["second"]
