"""How jobs stand: own record before Slurm, unknown neither failed nor done, and who kept whom from running."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.launch.jobs.graphs import job, kept
from tests.launch.slurm.fake_slurm import FakeSlurm
from trackyard.errors import ConfigError, EnvironmentLacking, TrackyardError
from trackyard.launch.jobs import retrying
from trackyard.launch.jobs.following import JobStatus, status
from trackyard.launch.jobs.logs import ASK_S, lines, newest, over
from trackyard.launch.jobs.retrying import retry
from trackyard.launch.jobs.stopping import cancel
from trackyard.launch.jobs.store import ENDED, Ended, Kept
from trackyard.launch.jobs.submitting import submit
from trackyard.launch.jobs.waiting import PATIENCE_S, wait
from trackyard.launch.sites import Partition, Site
from trackyard.launch.slurm.client import SlurmClient

SITE = Site(
    name="toy",
    scheduler="slurm",
    default_partition="gpus",
    partitions={"gpus": Partition(device="cpu", cores_per_node=2)},
)


class World:
    """A chain a, b, c and an array d of two behind a, submitted."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.slurm = FakeSlurm()
        self.client = SlurmClient(self.slurm, sleep=self.slurm.sleep)
        self.kept: Kept = kept(
            root,
            job("a", inputs={}),
            job("b", "a", inputs={}),
            job("c", "b", inputs={}),
            job("d-0", "a", array="d", index=0, inputs={}),
            job("d-1", "a", array="d", index=1, inputs={}),
        )
        self.ids = submit(self.kept, self.client, SITE, environment={})
        self.slurm.schedule()

    def begins(self, name: str) -> None:
        self.kept.note_attempt(name, event="began", slurm_id=self.id(name), life=1)

    def ends(self, name: str, state: str = "done", code: int = 0) -> None:
        """As `trackyard work` ends it, and then Slurm."""
        self.begins(name)
        self.kept.note_attempt(name, event="ended", slurm_id=self.id(name), life=1, next=state)
        self.kept.note_ended(
            name,
            Ended(state=state, exit_code=code, detail="why", at="2026-01-01T00:00:00+00:00", slurm_id=self.id(name)),  # type: ignore[arg-type]
        )
        self.slurm.end(self.id(name), exit_code=code)
        self.slurm.schedule()

    def id(self, name: str) -> str:
        return str(self.kept.submissions(name)[-1]["slurm_id"])

    def found(self) -> dict[str, JobStatus]:
        return {one.name: one for one in status(self.kept, self.client)}

    def states(self) -> dict[str, str]:
        return {name: one.state for name, one in self.found().items()}

    def retry(self, *names: str) -> dict[str, str]:
        return retry(self.kept, self.client, SITE, names)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_graph_from_its_submission_to_its_end(world: World) -> None:
    assert world.states() == {"a": "running", "b": "pending", "c": "pending", "d-0": "pending", "d-1": "pending"}
    world.ends("a")
    assert world.states() == {"a": "done", "b": "running", "c": "pending", "d-0": "running", "d-1": "running"}
    for name in ("b", "d-0", "c", "d-1"):
        world.ends(name, "unchanged" if name == "c" else "done")
    assert set(world.states().values()) == {"done", "unchanged"}
    asked = world.slurm.count("squeue")
    world.found()
    assert world.slurm.count("squeue") == asked, "Slurm is not asked of what has ended by its own record"


def test_what_waits_for_a_failed_job_names_it(world: World) -> None:
    world.ends("a")
    world.ends("b", "failed", 3)
    found = world.found()
    assert (found["b"].state, found["b"].detail) == ("failed", "why")
    assert (found["c"].state, found["c"].failed_ancestor, found["c"].detail) == (
        "cancelled",
        "b",
        "waited for b: failed",
    )
    assert found["d-0"].state == "running"


def test_the_first_of_a_chain_that_failed_is_named_to_all(world: World) -> None:
    world.ends("a", "given up", 1)
    assert {one.failed_ancestor for name, one in world.found().items() if name != "a"} == {"a"}


@pytest.mark.parametrize("silence", ["no accounting, and forgotten", "no controller, no accounting"])
def test_unknown_is_neither_failed_nor_done(world: World, silence: str) -> None:
    world.begins("a")
    world.slurm.accounting = False
    if silence.startswith("no accounting"):
        for one in world.ids.values():
            world.slurm.forget(one)
    else:
        world.slurm.controller = False
    found = world.found()
    assert {one.state for one in found.values()} == {"unknown"}
    assert not any(one.is_bad for one in found.values())
    assert f"last heard of at {world.kept.attempts('a')[-1]['at']}" in found["a"].detail
    assert world.retry() == {}, "nothing that may still run is submitted once more"


def test_what_slurm_calls_done_without_a_record_is_not_done(world: World) -> None:
    world.slurm.end("1")
    assert world.found()["a"].state == "unknown"
    assert "its completion record is not seen here" in world.found()["a"].detail


@pytest.mark.parametrize(
    ("word", "state"), [("TIMEOUT", "timeout"), ("OUT_OF_MEMORY", "out of memory"), ("NODE_FAIL", "node failed")]
)
def test_what_slurm_has_ended_is_told_in_its_words(world: World, word: str, state: str) -> None:
    world.begins("a")
    world.slurm.end("1", exit_code=1, state=word)
    assert world.found()["a"].state == state
    assert world.found()["a"].is_bad


def test_a_requeued_job_waits_for_its_credential_and_is_not_stuck(world: World) -> None:
    world.begins("a")
    world.kept.note_attempt("a", event="ended", slurm_id="1", life=1, next="requeue", progressed=True)
    world.slurm.requeue("1")
    found = world.found()["a"]
    assert found.state in ("pending", "requeued")
    assert "credential" in found.detail
    assert found.lives == 1


def test_a_failure_counts_no_more_when_the_job_lives_again(world: World) -> None:
    """An operator's `scontrol requeue` of a job that had failed."""
    world.ends("a", "failed", 1)
    world.slurm.requeue("1")
    world.slurm.schedule()
    world.begins("a")
    assert world.states()["a"] == "running"


def test_a_retry_submits_what_failed_and_what_waited_for_it(world: World) -> None:
    world.ends("a")
    world.ends("b", "failed", 3)
    world.ends("d-0")
    world.begins("d-1")
    world.slurm.end(world.id("d-1"), exit_code=1, state="NODE_FAIL")
    made = world.retry()
    assert sorted(made) == ["b", "c", "d-1"]
    assert made["d-1"].endswith("_1"), "of an array the failed index alone"
    assert f"afterok:{made['b']}" in world.slurm.jobs[made["c"]].options["dependency"]
    assert "dependency" not in world.slurm.jobs[made["b"]].options, "a has succeeded"
    world.slurm.schedule()
    assert world.states() == {"a": "done", "b": "running", "c": "pending", "d-0": "done", "d-1": "running"}
    assert world.retry() == {}, "what is alive is not submitted again"
    world.ends("b")
    world.ends("c")
    world.ends("d-1")
    assert set(world.states().values()) == {"done"}


def test_a_job_that_is_named_is_retried_unless_it_is_done_or_alive(world: World) -> None:
    world.ends("a")
    with pytest.raises(ConfigError, match="a is done") as raised:
        world.retry("a")
    assert "submit --force" in raised.value.fix
    with pytest.raises(ConfigError, match="b is running"):
        world.retry("b")
    with pytest.raises(ConfigError, match="no job 'x'"):
        world.retry("x")


def test_a_job_of_which_nothing_is_known_is_cancelled_before_it_is_retried_by_name(world: World) -> None:
    world.begins("a")
    world.slurm.accounting = False
    world.slurm.forget("1")
    assert "a" in world.retry("a")
    assert any(argv[0] == "scancel" and "1" in argv for argv in world.slurm.calls)
    assert world.slurm.submitted[-1] != "1"


def test_cancel_ends_what_is_alive_and_nothing_else(world: World) -> None:
    other = kept(world.root, job("x"), id="other-2")
    submit(other, world.client, SITE, environment={})
    world.slurm.schedule()
    world.ends("a")
    assert [one.name for one in cancel(world.kept, world.client, ["d-1"])] == ["d-1"]
    assert world.states()["d-1"] == "cancelled"
    assert world.states()["d-0"] == "running"
    assert sorted(one.name for one in cancel(world.kept, world.client)) == ["b", "c", "d-0"]
    found = world.found()
    assert found["a"].state == "done"
    assert {found[name].detail for name in ("b", "d-0", "d-1")} == {"by trackyard cancel"}
    assert [one.state for one in status(other, world.client)] == ["running"]
    assert cancel(world.kept, world.client) == []
    with pytest.raises(ConfigError, match="no job 'x'"):
        cancel(world.kept, world.client, ["x"])


def test_a_cancelled_job_that_slurm_has_forgotten_stays_cancelled(world: World) -> None:
    cancel(world.kept, world.client)
    world.slurm.accounting = False
    for one in world.ids.values():
        world.slurm.forget(one)
    assert set(world.states().values()) == {"cancelled"}
    assert sorted(world.retry()) == ["a", "b", "c", "d-0", "d-1"]


def test_waiting_ends_with_the_last_job(world: World) -> None:
    told: list[list[str]] = []
    names = iter(("a", "b", "d-0", "d-1", "c"))

    def sleep(_seconds: float) -> None:
        world.ends(next(names))

    found = wait(world.kept, world.client, told=lambda jobs: told.append([one.state for one in jobs]), sleep=sleep)
    assert {one.state for one in found} == {"done"}
    assert len(told) == 6


def test_waiting_for_jobs_that_nobody_knows_is_given_up(world: World) -> None:
    world.slurm.controller = world.slurm.accounting = False
    slept: list[float] = []
    with pytest.raises(EnvironmentLacking, match="Slurm says nothing of a, b, c") as raised:
        wait(world.kept, world.client, told=lambda _: None, sleep=slept.append, patience_s=300.0)
    assert raised.value.exit_code == 3
    assert sum(slept) > 300
    assert max(slept) <= 60
    assert slept[1] > slept[0]


def test_following_a_job_that_nobody_knows_is_given_up_after_the_same_patience(world: World) -> None:
    now = 0.0
    ended = over(world.kept, world.client, "a", clock=lambda: now)
    assert not ended()
    world.slurm.accounting = False
    world.slurm.forget("1")
    while now <= PATIENCE_S:
        assert not ended(), "unknown is neither failed nor done"
        now += 10.0
    now += 2 * ASK_S
    with pytest.raises(EnvironmentLacking, match="Slurm says nothing of a for 900 s") as raised:
        ended()
    assert "trackyard cancel toy-1 a" in raised.value.fix
    world.ends("a")
    assert ended(), "its own record is an end, whenever it comes"


def test_patience_begins_anew_when_slurm_has_been_heard(world: World) -> None:
    now = 0.0
    ended = over(world.kept, world.client, "a", clock=lambda: now)
    for _ in range(3):
        world.slurm.controller = world.slurm.accounting = False
        assert not ended()
        now += 0.8 * PATIENCE_S
        assert not ended()
        now += ASK_S
        world.slurm.controller = True
        assert not ended()
        now += ASK_S


def test_cancel_ends_what_its_submission_was_cut_off_before_it_noted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.ends("a")
    world.begins("d-1")
    world.slurm.end(world.id("d-1"), exit_code=1, state="NODE_FAIL")
    _cut_off(world, monkeypatch)
    assert world.kept.in_doubt("d")
    assert [(one.name, one.slurm_id) for one in cancel(world.kept, world.client, ["d-1"])] == [("d-1", "5_1")]
    assert world.slurm.jobs["5_1"].state == "CANCELLED by 0"
    assert not world.kept.in_doubt("d")
    assert world.states()["d-0"] == "running", "of the array only what was submitted once more"
    assert submit(world.kept, world.client, SITE, only=["d-1"], environment={}) == {"d-1": "6_1"}


def test_what_slurm_calls_done_without_a_record_is_begun_anew_once_it_was_cancelled(world: World) -> None:
    world.ends("a")
    (world.kept.folder("a") / ENDED).unlink()
    assert world.states()["a"] == "unknown"
    assert world.retry() == {}
    cancel(world.kept, world.client, ["a"])
    assert world.states()["a"] == "cancelled"
    assert "a" in world.retry()


def test_a_retry_takes_nothing_that_waits_for_another_failed_job(tmp_path: Path) -> None:
    found, slurm = kept(tmp_path, *(job(*names, inputs={}) for names in (("b",), ("e",), ("c", "b", "e")))), FakeSlurm()
    client = SlurmClient(slurm, sleep=slurm.sleep)
    submit(found, client, SITE, environment={})
    for name in ("b", "e"):
        slurm_id = str(found.submissions(name)[-1]["slurm_id"])
        found.note_ended(name, Ended(state="failed", exit_code=1, detail="", at="", slurm_id=slurm_id))
        slurm.end(slurm_id, exit_code=1)
    slurm.schedule()
    with pytest.raises(ConfigError, match="c waits for b, which is failed") as refused:
        retry(found, client, SITE, ["c"])
    assert refused.value.fix == "trackyard retry toy-1"
    assert list(retry(found, client, SITE, ["b"])) == ["b"]
    assert list(retry(found, client, SITE)) == ["e", "c"]


def test_a_retry_of_other_tasks_is_not_taken_for_one_that_was_cut_off(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.ends("a")
    world.begins("d-1")
    world.slurm.end(world.id("d-1"), exit_code=1, state="NODE_FAIL")
    _cut_off(world, monkeypatch)
    world.begins("d-0")
    world.slurm.end(world.id("d-0"), exit_code=1, state="NODE_FAIL")
    assert world.retry() == {"d-0": "6_0"}
    assert (world.id("d-0"), world.id("d-1")) == ("6_0", "5_1")
    assert world.states()["d-1"] == "running"


def test_a_retry_submits_nothing_that_somebody_submitted_while_it_waited(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.ends("a")
    world.ends("b", "failed", 1)
    real = retrying.turn

    @contextmanager
    def late(root: Path) -> Iterator[None]:
        with real(root):
            submit(world.kept, world.client, SITE, only=["b", "c"], environment={})
            yield

    monkeypatch.setattr(retrying, "turn", late)
    before = len(world.slurm.submitted)
    assert world.retry() == {}
    assert len(world.slurm.submitted) == before + 2, "those of the other one"


def test_cancel_settles_that_what_was_cut_off_was_never_submitted(tmp_path: Path) -> None:
    found, slurm = kept(tmp_path, job("a")), FakeSlurm()
    client = SlurmClient(slurm, sleep=slurm.sleep)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slurm, "_sbatch", _cut)
        with pytest.raises(_Cut):
            submit(found, client, SITE, environment={})
    (told,) = status(found, client)
    assert (told.state, told.detail.partition(":")[0]) == ("not submitted", "as far as is noted")
    other = kept(tmp_path, job("a"), id="toy-2")
    with pytest.raises(TrackyardError, match="nobody has noted whether a of graph toy-1 was submitted") as refused:
        submit(other, client, SITE, environment={})
    assert "trackyard cancel toy-1" in refused.value.fix
    slurm.controller = False
    with pytest.raises(EnvironmentLacking, match=r"not reached to look for job toy-1\.a\.1"):
        cancel(found, client)
    assert found.in_doubt("a"), "not reached is not absent"
    slurm.controller = True
    assert cancel(found, client) == []
    assert [(one.state, one.detail) for one in status(found, client)] == [("not submitted", "")]
    assert submit(other, client, SITE, environment={}) == {"a": "1"}


class _Cut(BaseException):
    """A death in the middle of a submission."""


def _cut(*_: object, **__: object) -> Any:
    raise _Cut


def _cut_off(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Submit d-1 once more, and die between the answer of sbatch and the note of it."""
    with monkeypatch.context() as patch:
        patch.setattr(Kept, "note_submitted", _cut)
        with pytest.raises(_Cut):
            submit(world.kept, world.client, SITE, only=["d-1"], environment={})
    world.slurm.schedule()


def test_a_log_is_followed_over_the_lives_of_its_job(world: World) -> None:
    with pytest.raises(TrackyardError, match="no job of graph toy-1 has a log yet"):
        newest(world.kept)
    path = world.kept.log("d-1")
    path.parent.mkdir(parents=True, exist_ok=True)
    grows = iter(("life 1, whole\nlife 1, cut", " here\nlife 2\n", "the end without a newline"))
    over: list[bool] = []

    def sleep(_seconds: float) -> None:
        with open(path, "a") as handle:
            handle.write(next(grows))
        over.append(True)

    found = list(lines(path, lambda: len(over) == 3, sleep=sleep))
    assert found == ["life 1, whole\n", "life 1, cut here\n", "life 2\n", "the end without a newline"]
    assert newest(world.kept) == "d-1"
