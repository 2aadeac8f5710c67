"""What jobs must find as it was, in a real repository: their own dependencies, and the sources of all stages before."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from dvc.output import Output

from tests.launch.jobs.dvc_world import SITE
from trackyard.errors import TrackyardError
from trackyard.launch.jobs.dvc_stages import opened, stages_of
from trackyard.launch.jobs.from_dvc import Wanted, stale_graph
from trackyard.launch.jobs.graph import Job
from trackyard.launch.jobs.inputs import COMMAND, inputs_now, recorded_inputs, require_same_inputs

RATES = {"params.yaml:toy.rate", "params.yaml:toy.size"}


def submitted(root: Path, *targets: str, force: bool = False) -> dict[str, Job]:
    found = stale_graph(root, Wanted(targets=targets, force=force), SITE, environment={})
    return {job.name: job for job in found.jobs}


def test_inputs_are_what_no_job_of_the_graph_makes_with_the_sources_of_the_stages_before(fresh: Path) -> None:
    found = submitted(fresh, "joined", "parts", "pipelines/toy/dvc.yaml:alone")
    assert set(found["first"].inputs) == {"in", COMMAND} | RATES
    assert found["first"].inputs == inputs_now(fresh, "first")
    for name in ("second", "items-b", "each-c", "joined"):
        assert set(found[name].inputs) == {COMMAND} | RATES, "data that in.dvc tells of are for those that read them"
        assert found[name].inputs.items() <= inputs_now(fresh, found[name].stage).items()
    assert set(found["parts"].inputs) == set(found["toy-alone"].inputs) == {"notes.txt", COMMAND}
    assert found["parts"].inputs[COMMAND] != found["toy-alone"].inputs[COMMAND]


def test_what_a_stage_that_is_up_to_date_has_made_is_an_input(done: Path) -> None:
    assert set(submitted(done, "items@b", force=True)["items-b"].inputs) == {"second.txt", COMMAND} | RATES


@pytest.mark.parametrize(
    ("path", "old", "new", "named"),
    [
        ("params.yaml", "rate: 1", "rate: 9", "params.yaml:toy.rate"),
        ("params.yaml", ", size: 2", "", "params.yaml:toy.size"),
        ("dvc.yaml", "cp each-a.txt", "cp -p each-a.txt", "its command"),
        ("dvc.yaml", "cp first.txt", "cp -p first.txt", None),
        ("in/data.txt", "data", "other data", None),
    ],
    ids=["parameter", "no parameter", "command", "command of another stage", "data of another stage"],
)
def test_a_job_far_behind_a_source_notices_its_change(
    fresh: Path, path: str, old: str, new: str, named: str | None
) -> None:
    job = submitted(fresh, "joined")["joined"]
    text = (fresh / path).read_text()
    assert old in text
    (fresh / path).write_text(text.replace(old, new))
    now = inputs_now(fresh, "joined")
    if named is None:
        require_same_inputs("joined", job.inputs, now, since="it was submitted")
        return
    with pytest.raises(TrackyardError) as refused:
        require_same_inputs("joined", job.inputs, now, since="it was submitted")
    assert refused.value.what == f"inputs of joined changed since it was submitted: {named}"


def test_digests_are_of_the_content_as_it_is_now(done: Path) -> None:
    before = inputs_now(done, "first")
    (done / "params.yaml").write_text("toy: {rate: 9}\n")
    (done / "in" / "data.txt").write_text("other data")
    after = inputs_now(done, "first")
    assert {key for key in before if before[key] != after[key]} == {"in"} | RATES
    assert after["params.yaml:toy.size"] == "missing"


@pytest.mark.parametrize("stage", ["first", "joined", "pipelines/toy/dvc.yaml:alone"])
def test_what_dvc_has_recorded_is_compared_in_the_same_digests(
    done: Path, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = inputs_now(done, stage)
    hashed = count_hashes(monkeypatch)
    with opened(done) as repo:
        (found,) = stages_of(repo, done, stage)
        recorded = recorded_inputs(found)
        assert recorded == {key: now[key] for key in recorded}
        assert len(recorded) == 1 + len(found.deps) + (stage == "first"), "a dependency has two parameters"
    assert hashed() == []


def test_every_path_is_hashed_once_for_a_whole_graph(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from trackyard.launch.jobs.inputs import Digests

    hashed = count_hashes(monkeypatch)
    with opened(fresh) as repo:
        digests = Digests(repo)
        for stage in repo.index.stages:
            digests.inputs(stage)
    assert sorted(hashed()) == ["in", "notes.txt"]


def count_hashes(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Names of what DVC was asked to hash since; parameters are no files."""
    asked: list[str] = []
    real = Output.get_hash

    def counted(self: Output) -> object:
        asked.append(Path(self.fs_path).name)
        return real(self)

    monkeypatch.setattr(Output, "get_hash", counted)
    return lambda: asked


def test_stages_are_read_when_dvc_has_written_all_of_them(done: Path) -> None:
    """It rewrites dvc.lock in place, under its lock; a job on another node looks at that moment."""
    script = (
        "import sys, time; from pathlib import Path; from dvc.repo import Repo, lock_repo\n"
        "lock = Path('dvc.lock'); text = lock.read_text()\n"
        "with Repo() as repo, lock_repo(repo):\n"
        "    lock.write_text(text[: len(text) // 2] + ': ['); print('half', flush=True)\n"
        "    time.sleep(1.0); lock.write_text(text)\n"
    )
    expected = inputs_now(done, "joined")
    with subprocess.Popen([sys.executable, "-c", script], cwd=done, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "half\n"
        assert inputs_now(done, "joined") == expected
    assert writer.returncode == 0
