"""One life of a job, with real DVC, real child processes and real signals; the scheduler alone is a fake."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dvc_data.hashfile import hash as reading

from tests.launch.jobs.toy_work import DvcHere, Toy, copy_of, job, keep, make_repository, running
from tests.launch.slurm.fake_slurm import FakeSlurm
from trackyard.crash import ARMED
from trackyard.errors import ConfigError, EnvironmentLacking, TrackyardError
from trackyard.launch.jobs.committing import changes
from trackyard.launch.jobs.graph import Job
from trackyard.launch.jobs.turn import LOCK
from trackyard.launch.signals import STOP_SIGNALS
from trackyard.leased import link_of
from trackyard.runner import Finished

Make = Callable[..., Toy]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_repository(tmp_path_factory.mktemp("template") / "repository")


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """The test process keeps its own handlers, and hears signals again."""
    earlier = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield
    for number, handler in earlier.items():
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


@pytest.fixture
def make(template: Path, tmp_path: Path) -> Make:
    """A toy whose jobs are made by functions of its root; one job of stage one without any."""

    def made(*jobs: Callable[[Path], Job]) -> Toy:
        root = copy_of(template, tmp_path / "repository")
        dvc = DvcHere()
        slurm = FakeSlurm(other=dvc)
        running(slurm)
        kept = keep(root, *(one(root) for one in jobs or (lambda root: job(root, "one"),)))
        return Toy(root=root, slurm=slurm, dvc=dvc, kept=kept)

    return made


def _when(path: Path, *numbers: signal.Signals) -> threading.Thread:
    """Signals to this process as soon as a file is there."""

    def send() -> None:
        limit = time.monotonic() + 30
        while not path.exists() and time.monotonic() < limit:
            time.sleep(0.02)
        for number in numbers:
            os.kill(os.getpid(), number)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def test_a_stage_runs_and_is_committed_once(make: Make) -> None:
    toy = make()
    assert toy.live() == 0
    ended = toy.kept.ended("one")
    assert ended is not None
    assert (ended.state, ended.exit_code, ended.slurm_id) == ("done", 0, "7")
    assert "out/one" in toy.recorded()
    assert changes(toy.root, "one") == []
    assert toy.told("ran") == ["toy-1/one toy"], "the stage knows its job and its site"
    assert [line["event"] for line in toy.kept.attempts("one")] == ["began", "ended"]
    assert toy.live(restarts=1) == 0, "a job that Slurm starts again after its record has nothing to do"
    assert len(toy.told("ran")) == 1
    assert toy.dvc.commits == ["one"]


def test_outputs_of_an_earlier_run_are_removed_first(make: Make) -> None:
    toy = make()
    (toy.root / "out").mkdir()
    (toy.root / "out/one").write_text("of an earlier run, ")
    assert toy.live() == 0
    assert (toy.root / "out/one").read_text() == "made of first"


def test_a_stage_that_is_up_to_date_is_not_run(make: Make) -> None:
    toy = make(lambda root: job(root, "one"), lambda root: job(root, "again", "one"))
    assert toy.live() == 0
    assert toy.live("again") == 0
    ended = toy.kept.ended("again")
    assert ended is not None
    assert ended.state == "unchanged"
    assert len(toy.told("ran")) == 1


def test_a_forced_stage_is_run_all_the_same(make: Make) -> None:
    toy = make(lambda root: job(root, "one"), lambda root: job(root, "again", "one", reason="forced"))
    toy.live()
    assert toy.live("again") == 0
    assert len(toy.told("ran")) == 2
    assert (toy.root / "out/one").read_text() == "made of first"


def test_changed_inputs_stop_the_job_before_anything_is_removed(make: Make) -> None:
    toy = make()
    (toy.root / "out").mkdir()
    (toy.root / "out/one").write_text("kept")
    (toy.root / "data").write_text("second")
    with pytest.raises(TrackyardError, match=r"inputs of one changed since it was submitted: data") as raised:
        toy.live()
    assert "trackyard submit one" in raised.value.fix
    ended = toy.kept.ended("one")
    assert ended is not None
    assert (ended.state, ended.exit_code) == ("failed", 1)
    assert toy.told("ran") == []
    assert (toy.root / "out/one").read_text() == "kept"


def _behind_one(root: Path) -> Job:
    """A stage that depends on what one has made, and reads the sources of one itself: as code is read."""
    (root / "dvc.yaml").write_text(
        (root / "dvc.yaml").read_text()
        + "  two:\n    cmd: python stage.py run toy two\n    deps: [out/one]\n    outs: [out/two]\n"
    )
    found = job(root, "two", after=("one",))
    return dataclasses.replace(found, inputs={key: value for key, value in found.inputs.items() if key != "out/one"})


def test_changed_sources_of_the_stages_before_stop_the_job_as_well(make: Make) -> None:
    toy = make(lambda root: job(root, "one"), _behind_one)
    assert toy.live() == 0
    (toy.root / "data").write_text("second")
    with pytest.raises(TrackyardError, match="inputs of two changed since it was submitted: data"):
        toy.live("two")
    assert toy.told("ran", "two") == []
    (toy.root / "data").write_text("first")
    assert toy.live("two") == 0


def test_sources_of_the_stages_before_that_change_while_it_runs_are_not_recorded(make: Make) -> None:
    toy = make(lambda root: job(root, "one"), _behind_one)
    assert toy.live() == 0
    toy.mode("meddle")
    with pytest.raises(TrackyardError, match="inputs of two changed since it began: data"):
        toy.live("two")
    assert toy.dvc.commits == ["one"]


def test_another_command_than_the_submitted_one_is_refused(make: Make) -> None:
    toy = make()
    (toy.root / "dvc.yaml").write_text((toy.root / "dvc.yaml").read_text().replace("run toy one", "run toy one again"))
    with pytest.raises(TrackyardError, match="inputs of one changed since it was submitted: its command"):
        toy.live()
    assert toy.told("ran") == []


def test_what_lies_there_is_hashed_before_the_turn_is_taken(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or jobs on all other nodes would wait for terabytes to be read."""
    toy = make()
    (toy.root / "out").mkdir()
    (toy.root / "out/one").write_text("of an earlier run")
    read: list[tuple[str, bool]] = []
    real = reading._hash_file

    def hash_file(path: str, *others: object, **options: object) -> object:
        read.append((Path(path).name, link_of(toy.root / LOCK).exists()))
        return real(path, *others, **options)

    monkeypatch.setattr(reading, "_hash_file", hash_file)
    assert toy.live() == 0
    assert read.count(("one", False)) == 2, "the old output, and the new one"
    assert [path for path, in_turn in read if in_turn] == []


def test_inputs_that_change_while_it_runs_are_not_recorded_as_what_it_was_made_of(make: Make) -> None:
    toy = make()
    toy.mode("meddle")
    with pytest.raises(TrackyardError, match=r"inputs of one changed since it began: data"):
        toy.live()
    ended = toy.kept.ended("one")
    assert ended is not None
    assert ended.state == "failed"
    assert toy.dvc.commits == []
    assert toy.recorded() == ""


@pytest.mark.parametrize(("mode", "code"), [("exit 3", 3), ("exit 1", 1)])
def test_a_failure_is_recorded_and_passed_on(make: Make, mode: str, code: int) -> None:
    toy = make()
    toy.mode(mode)
    assert toy.live() == code
    ended = toy.kept.ended("one")
    assert ended is not None
    assert (ended.state, ended.exit_code, ended.detail) == ("failed", code, f"ended with exit code {code}")
    assert toy.requeued() == []


def test_sigusr1_reaches_the_stage_once_and_the_job_requeues_itself(make: Make) -> None:
    toy = make()
    toy.mode("wait")
    sender = _when(toy.root / "told/one/ready", signal.SIGUSR1, signal.SIGUSR1)
    assert toy.live() == 75
    sender.join()
    assert toy.told("signals") == ["SIGUSR1"]
    assert toy.requeued() == ["7"]
    assert toy.kept.ended("one") is None
    last = toy.kept.attempts("one")[-1]
    assert (last["next"], last["progressed"], last["signals"]) == ("requeue", True, ["SIGUSR1"])
    toy.mode("ok")
    assert toy.live(restarts=1) == 0
    assert changes(toy.root, "one") == []


@pytest.mark.parametrize("numbers", [(signal.SIGTERM,), (signal.SIGUSR1, signal.SIGTERM)])
def test_a_job_that_slurm_ends_does_not_requeue_itself(make: Make, numbers: tuple[signal.Signals, ...]) -> None:
    """SIGTERM to the script is also what a cancelled job hears, and requeued it would come back."""
    toy = make()
    toy.mode("wait")
    sender = _when(toy.root / "told/one/ready", *numbers)
    assert toy.live(told_s=60.0) == 75
    sender.join()
    assert toy.told("signals") == ["SIGUSR1"], "srun would kill the step at once for SIGTERM"
    assert toy.requeued() == []
    assert toy.kept.ended("one") is None
    assert toy.kept.attempts("one")[-1]["next"] == "left to slurm"


def test_sigterm_that_comes_after_the_stage_has_ended_still_counts(make: Make) -> None:
    toy = make()
    toy.mode("save 75")
    sender = _when(toy.root / "runs/toy/one/rows.txt", signal.SIGTERM)
    assert toy.live(told_s=60.0) == 75
    sender.join()
    assert toy.requeued() == []


def test_a_preempted_job_requeues_itself(make: Make) -> None:
    """Its stage alone hears of it, and ends with 75."""
    toy = make()
    toy.mode("save 75")
    assert toy.live() == 75
    assert toy.requeued() == ["7"]


def test_a_stage_that_is_asked_to_stop_before_it_has_begun_does_not_begin(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = make()
    from trackyard.launch.jobs import working

    def clear(*_: object, **__: object) -> tuple[Path, ...]:
        os.kill(os.getpid(), signal.SIGUSR1)
        return ()

    monkeypatch.setattr(working, "clear_outputs", clear)
    assert toy.live() == 75
    assert toy.told("ran") == []
    assert toy.requeued() == ["7"]


def test_two_lives_in_a_row_that_save_nothing_are_the_last(make: Make) -> None:
    toy = make()
    toy.mode("exit 75")
    assert toy.live() == 75
    assert toy.live(restarts=1) == 1
    ended = toy.kept.ended("one")
    assert ended is not None
    assert (ended.state, ended.exit_code) == ("given up", 1)
    assert "saved nothing further" in ended.detail
    assert toy.requeued() == ["7"]


def test_a_life_that_saves_something_begins_the_count_anew(make: Make) -> None:
    toy = make()
    for mode in ("exit 75", "save 75"):
        toy.mode(mode)
        assert toy.live(restarts=len(toy.requeued())) == 75
    assert toy.requeued() == ["7", "7"]
    toy.mode("save 75")
    assert toy.live(restarts=2) == 1, "the site allows three lives"
    assert toy.kept.ended("one").detail.endswith("that was life 3 of 3")  # type: ignore[union-attr]


def test_a_job_that_slurm_restarts_too_often_is_given_up_at_its_start(make: Make) -> None:
    toy = make()
    assert toy.live(restarts=3) == 1
    assert toy.told("ran") == []
    assert toy.kept.ended("one").state == "given up"  # type: ignore[union-attr]


def test_a_requeue_that_is_refused_is_a_failure_that_is_told(make: Make) -> None:
    toy = make()
    toy.mode("save 75")
    toy.slurm._scontrol = lambda _: (1, "", "Access/permission denied for job 7")  # type: ignore[method-assign]
    with pytest.raises(TrackyardError, match="permission denied"):
        toy.live()
    ended = toy.kept.ended("one")
    assert ended is not None
    assert ended.state == "failed"
    assert "to be requeued, and was not" in ended.detail


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyError("absent")])
def test_an_error_that_nobody_foresaw_is_recorded_and_passed_on(
    make: Make, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    toy = make()

    def fail(*_: object, **__: object) -> Finished:
        raise error

    monkeypatch.setattr(toy.dvc, "run", fail)
    with pytest.raises(type(error)):
        toy.live()
    ended = toy.kept.ended("one")
    assert ended is not None
    assert (ended.state, ended.exit_code) == ("failed", 1)
    assert ended.detail == f"{type(error).__name__}: {error}"


def _noted(toy: Toy, *slurm_ids: str) -> None:
    for slurm_id in slurm_ids:
        toy.kept.note_submitted("one", slurm_id)


def test_a_job_that_a_later_submission_has_replaced_does_nothing(make: Make) -> None:
    toy = make()
    _noted(toy, "7", "8")
    with pytest.raises(TrackyardError, match=r"job 7 is not the newest of toy-1/one, which is 8") as raised:
        toy.live()
    assert raised.value.fix.startswith("scancel 7")
    assert (toy.kept.ended("one"), toy.kept.attempts("one"), toy.told("ran")) == (None, [], [])


def test_a_second_job_of_one_submission_does_nothing(make: Make) -> None:
    toy = make()
    _noted(toy, "6")
    with pytest.raises(TrackyardError, match="job 7 is not the newest"):
        toy.live(job_name="toy-1.one.1")
    assert toy.told("ran") == []


@pytest.mark.parametrize("noted", [("6", "7"), ("6",)], ids=["noted", "not noted yet"])
def test_the_newest_submission_runs_even_if_its_note_comes_later(make: Make, noted: tuple[str, ...]) -> None:
    toy = make()
    _noted(toy, *noted)
    assert toy.live(job_name="toy-1.one.2") == 0
    assert len(toy.told("ran")) == 1


def test_a_record_holds_no_secret(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "not-of-any-known-shape"
    monkeypatch.setenv("SOME_TOKEN", secret)
    toy = make()

    def refuse(argv: list[str], **_: object) -> Finished:
        return Finished(argv=tuple(argv), exit_code=1, stdout="", stderr=f"no access with {secret}", seconds=0.0)

    monkeypatch.setattr(toy.dvc, "run", refuse)
    with pytest.raises(TrackyardError, match="no access with"):
        toy.live()
    ended = toy.kept.ended("one")
    assert ended is not None
    assert ended.detail.endswith("no access with [redacted]")
    written = [path for path in toy.kept.path.rglob("*") if path.is_file()]
    assert not [path for path in written if secret in path.read_text()]


def test_a_part_removes_and_commits_nothing_and_reads_nothing_of_others(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    real = reading._hash_file

    def hash_file(path: str, *more: object, **named: object) -> object:
        read.append(Path(path).name)
        return real(path, *more, **named)

    toy = make(lambda root: job(root, "one-0", "one", commits=False, array="one", index=0),
               lambda root: job(root, "one-1", "one", commits=False, array="one", index=1))  # fmt: skip
    (toy.root / "out").mkdir()
    (toy.root / "out/one").write_text("of the other part, ")
    monkeypatch.setattr(reading, "_hash_file", hash_file)
    (toy.root / "data").write_text("first")
    assert toy.live("one", index=1) == 0
    assert set(read) == {"data"}
    assert (toy.root / "out/one").read_text() == "of the other part, made of first"
    assert toy.recorded() == ""
    ended = toy.kept.ended("one-1")
    assert ended is not None
    assert (ended.state, ended.slurm_id) == ("done", "7_1")
    assert toy.kept.ended("one-0") is None


def test_what_is_no_batch_job_of_the_graph_is_refused(make: Make) -> None:
    toy = make()
    with pytest.raises(ConfigError, match="no job 'two'"):
        toy.live("two")
    with pytest.raises(ConfigError, match="with index 5"):
        toy.live("one-array", index=5)
    from trackyard.launch.jobs.working import work

    with pytest.raises(EnvironmentLacking, match="SLURM_JOB_ID"):
        work(toy.root, "toy-1", "one", say=print, environment={})


def _killed_at(toy: Toy, point: str) -> None:
    """A life in another process that ends by SIGKILL at a place."""
    child = os.fork()
    if child == 0:
        try:
            os.environ[ARMED] = point
            toy.live()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL, "the place was not reached"


POINTS = ("after-the-stage", "before-the-commit", "after-the-commit", "before-the-record", "after-the-record")


@pytest.mark.parametrize("point", POINTS)
def test_a_job_that_is_killed_at_its_end_ends_the_same_in_its_next_life(make: Make, point: str) -> None:
    toy = make()
    _killed_at(toy, point)
    assert toy.live(restarts=1) == 0
    ended = toy.kept.ended("one")
    assert ended is not None
    assert ended.state in ("done", "unchanged")
    assert changes(toy.root, "one") == []
    assert (toy.root / "out/one").read_text() == "made of first"
    assert toy.recorded().count("out/one") == 1


def test_a_job_that_is_killed_before_its_requeue_stays_without_an_end(make: Make) -> None:
    toy = make()
    toy.mode("save 75")
    _killed_at(toy, "before-the-requeue")
    assert toy.kept.ended("one") is None
    toy.mode("ok")
    assert toy.live(restarts=1) == 0
