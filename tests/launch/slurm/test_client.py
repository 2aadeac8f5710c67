"""Submitted once, whatever is lost; the right state, whoever is silent (pains 19)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.launch.slurm.batch_jobs import batch_job
from tests.launch.slurm.fake_slurm import FakeSlurm
from trackyard.errors import ConfigError, EnvironmentLacking, TrackyardError
from trackyard.launch.slurm.client import TRIES, SlurmClient
from trackyard.launch.slurm.ids import tasks_of
from trackyard.launch.slurm.patience import waits
from trackyard.launch.slurm.script import render
from trackyard.launch.slurm.states import Seen
from trackyard.runner import Finished


@pytest.fixture
def slurm() -> FakeSlurm:
    return FakeSlurm()


@pytest.fixture
def client(slurm: FakeSlurm) -> SlurmClient:
    return SlurmClient(slurm, sleep=slurm.sleep, environment={"PATH": "/bin"})


def _script(folder: Path, name: str = "graph.stage2.1", **changes: Any) -> Path:
    path = folder / f"{name}.sh"
    path.write_text(render(batch_job(name=name, **changes)))
    return path


def _submitted(client: SlurmClient, folder: Path, **changes: Any) -> str:
    return client.submit(_script(folder, **changes))


# --- submit


def test_a_submission_returns_its_id_and_waits_for_nothing(
    slurm: FakeSlurm, client: SlurmClient, tmp_path: Path
) -> None:
    assert _submitted(client, tmp_path, name="a") == "1"
    assert _submitted(client, tmp_path, name="b") == "2"
    assert sum(slurm.slept) == 0


@pytest.mark.parametrize(
    "banner",
    [
        ("Welcome to the cluster\n2026 maintenance: none\n\n", "\nYour balance: 12 SU\n"),
        ("sbatch: Verify job submission ...\n", ""),
        ("", "job 17 is the last one\n"),
    ],
)
def test_banners_around_the_id(slurm: FakeSlurm, client: SlurmClient, tmp_path: Path, banner: tuple[str, str]) -> None:
    slurm.banner = banner
    assert _submitted(client, tmp_path) == "1"
    assert slurm.count("sbatch") == 1


@pytest.mark.parametrize("banner", [("42\n", ""), ("", "42\n"), ("id: ", "")])
def test_an_id_that_cannot_be_told_from_a_banner_is_looked_up(
    slurm: FakeSlurm, client: SlurmClient, tmp_path: Path, banner: tuple[str, str]
) -> None:
    slurm.banner = banner
    assert _submitted(client, tmp_path) == "1"
    assert slurm.count("sbatch") == 1


def test_what_was_accepted_without_an_id_is_never_submitted_again(
    slurm: FakeSlurm, client: SlurmClient, tmp_path: Path
) -> None:
    slurm.banner = ("id: ", "")
    slurm.hides_names = True
    with pytest.raises(EnvironmentLacking, match="nobody knows whether"):
        _submitted(client, tmp_path)
    assert slurm.submitted == ["1"]


def test_in_a_federation_the_clusters_name_follows(slurm: FakeSlurm, client: SlurmClient, tmp_path: Path) -> None:
    slurm.banner = ("", ";not-an-id\n")
    run = slurm.run

    def federated(argv: Sequence[str], **more: Any) -> Finished:
        done = run(argv, **more)
        return Finished(
            argv=done.argv, exit_code=0, stdout=done.stdout.replace("1\n;not-an-id", "1;anvil"), stderr="", seconds=0
        )

    slurm.run = federated  # type: ignore[method-assign]
    assert _submitted(client, tmp_path) == "1"


@pytest.mark.parametrize("accounting", [True, False])
def test_a_lost_answer_is_looked_up_and_not_submitted_again(
    slurm: FakeSlurm, client: SlurmClient, tmp_path: Path, accounting: bool
) -> None:
    slurm.lose, slurm.accounting = 1, accounting
    assert _submitted(client, tmp_path) == "1"
    assert slurm.submitted == ["1"]
    assert len(slurm.slept) == 2


def test_an_array_is_looked_up_as_one_job(slurm: FakeSlurm, client: SlurmClient, tmp_path: Path) -> None:
    _submitted(client, tmp_path, name="other")
    slurm.lose = 1
    assert _submitted(client, tmp_path, array="0-3%2") == "2"
    assert sorted(slurm.jobs) == ["1", "2_0", "2_1", "2_2", "2_3"]


def test_a_job_that_ended_before_it_was_looked_up_is_known_by_accounting(
    slurm: FakeSlurm, client: SlurmClient, tmp_path: Path
) -> None:
    script = _script(tmp_path)
    job = client.submit(script)
    slurm.end(job)
    slurm.forget(job)
    assert client.submit(script) == job, "a submitter that died before it wrote the id down asks again"
    assert slurm.submitted == [job]


def test_a_submission_that_never_arrived_is_made_again_after_two_looks(
    slurm: FakeSlurm, client: SlurmClient, tmp_path: Path
) -> None:
    slurm.drop = 2
    assert _submitted(client, tmp_path) == "1"
    assert slurm.submitted == ["1"]
    programs = [argv[0] for argv in slurm.calls if argv[0] != "sacct"]
    assert programs == ["squeue", "sbatch", "squeue", "squeue", "sbatch", "squeue", "squeue", "sbatch"]


def test_a_controller_that_is_away_is_waited_for_with_longer_and_longer_pauses(
    slurm: FakeSlurm, client: SlurmClient, tmp_path: Path
) -> None:
    slurm.controller = False
    with pytest.raises(EnvironmentLacking, match=r"nobody knows whether job graph\.stage2\.1 was submitted"):
        _submitted(client, tmp_path)
    assert slurm.count("sbatch") == 0, "what cannot be looked up is not submitted"
    assert slurm.slept[0] == 0
    assert len(slurm.slept) == TRIES
    for wait, longest in zip(slurm.slept[1:], (2, 4, 8, 16, 32, 60, 60, 60), strict=True):
        assert 0.8 * longest <= wait <= longest


def test_a_refusal_is_told_in_slurms_words_and_not_repeated(
    slurm: FakeSlurm, client: SlurmClient, tmp_path: Path
) -> None:
    slurm.refusal = "Requested node configuration is not available"
    with pytest.raises(ConfigError, match="Requested node configuration is not available") as raised:
        _submitted(client, tmp_path)
    assert raised.value.exit_code == 2
    assert slurm.count("sbatch") == 1


def test_defaults_of_the_user_do_not_reach_slurm(slurm: FakeSlurm, tmp_path: Path) -> None:
    seen: list[dict[str, str]] = []
    run = slurm.run

    def watched(argv: Sequence[str], **more: Any) -> Finished:
        seen.append(more["env"])
        return run(argv, **more)

    slurm.run = watched  # type: ignore[method-assign]
    outer = {
        "SLURM_CONF": "/etc/x",
        "SBATCH_PARTITION": "wrong",
        "SLURM_PROCID": "3",
        "SACCT_FORMAT": "User",
        "HOME": "/h",
    }
    SlurmClient(slurm, sleep=slurm.sleep, environment=outer).submit(_script(tmp_path))
    assert seen
    assert all(one == {"SLURM_CONF": "/etc/x", "HOME": "/h", "SLURM_BITSTR_LEN": "0"} for one in seen)


# --- seen: every source silent in turn


@pytest.fixture
def job(slurm: FakeSlurm, client: SlurmClient, tmp_path: Path) -> str:
    found = _submitted(client, tmp_path)
    slurm.schedule()
    return found


ENDS = [
    ("COMPLETED", 0, "done"),
    ("FAILED", 3, "failed"),
    ("CANCELLED by 1000", 0, "cancelled"),
    ("TIMEOUT", 0, "timeout"),
    ("DEADLINE", 0, "timeout"),
    ("PREEMPTED", 0, "preempted"),
    ("OUT_OF_MEMORY", 1, "out of memory"),
    ("NODE_FAIL", 0, "node failed"),
    ("BOOT_FAIL", 0, "node failed"),
]


@pytest.mark.parametrize(("word", "code", "state"), ENDS)
@pytest.mark.parametrize("silent", ["nobody", "accounting", "forgotten"])
def test_every_end_by_every_source(
    slurm: FakeSlurm, client: SlurmClient, job: str, word: str, code: int, state: str, silent: str
) -> None:
    slurm.end(job, exit_code=code, state=word)
    slurm.accounting = silent != "accounting"
    if silent == "forgotten":
        slurm.forget(job)
    found = client.seen([job])[job]
    assert (found.state, found.exit_code) == (state, code)
    assert found.source == ("controller" if silent == "accounting" else "accounting")
    assert not found.is_alive


@pytest.mark.parametrize(
    ("word", "state"),
    [("PENDING", "pending"), ("CONFIGURING", "pending"), ("RUNNING", "running"), ("COMPLETING", "running"),
     ("RESIZING", "running"), ("SUSPENDED", "running"), ("REQUEUE_HOLD", "requeued"), ("SPECIAL_EXIT", "requeued")],
)  # fmt: skip
def test_what_is_alive_has_no_exit_code(slurm: FakeSlurm, client: SlurmClient, job: str, word: str, state: str) -> None:
    slurm.jobs[job].state = word
    found = client.seen([job])[job]
    assert (found.state, found.exit_code, found.is_alive) == (state, None, True)
    assert slurm.count("sacct") == 1, "accounting is not asked of jobs that are alive (once was the look before sbatch)"


def test_no_accounting_and_a_purged_job_is_unknown_and_not_failed(
    slurm: FakeSlurm, client: SlurmClient, job: str
) -> None:
    slurm.end(job, exit_code=1)
    slurm.accounting = False
    slurm.forget(job)
    found = client.seen([job])[job]
    assert (found.state, found.source, found.exit_code) == ("unknown", "nobody", None)
    assert found.reason == (
        "controller: no such job; accounting: Slurm accounting storage is disabled; "
        "jobcomp: there is no file of ended jobs here"
    )


def test_the_file_of_ended_jobs_is_asked_last(slurm: FakeSlurm, client: SlurmClient, job: str, tmp_path: Path) -> None:
    slurm.completions, slurm.accounting = tmp_path / "jobcomp.txt", False
    slurm.requeue(job)
    slurm.forget(job)
    assert client.seen([job])[job].state == "unknown", "a line of an earlier life tells no end"
    slurm.end(job, exit_code=7)
    assert client.seen([job])[job] == Seen(state="failed", exit_code=7, source="jobcomp")
    other = client.submit(_script(tmp_path, name="array", array="0-2"))
    slurm.end(f"{other}_1", state="TIMEOUT")
    slurm.forget(f"{other}_1")
    assert client.seen([f"{other}_1"])[f"{other}_1"].state == "timeout"


def test_a_controller_that_does_not_answer_leaves_accounting(slurm: FakeSlurm, client: SlurmClient, job: str) -> None:
    slurm.controller = False
    assert client.seen([job])[job].state == "running"
    slurm.end(job, exit_code=2)
    assert client.seen([job])[job] == Seen(
        state="failed", exit_code=2, reason="NonZeroExitCode", source="accounting", restarts=0
    )
    slurm.accounting = False
    found = client.seen([job])[job]
    assert found.state == "unknown"
    assert "controller: slurm_load_jobs error: Unable to contact" in found.reason


@pytest.mark.parametrize("word", ["PREEMPTED", "NODE_FAIL"])
def test_a_life_that_slurm_may_follow_by_another_is_no_end_unless_the_controller_says_so(
    slurm: FakeSlurm, client: SlurmClient, job: str, word: str
) -> None:
    slurm.end(job, state=word)
    slurm.controller = False
    assert client.seen([job])[job].state == "unknown"
    slurm.controller = True
    assert client.seen([job])[job].source == "accounting"


def test_lagging_accounting_makes_no_ended_job_alive(slurm: FakeSlurm, client: SlurmClient, job: str) -> None:
    slurm.lagging.add(job)
    slurm.end(job, exit_code=1)
    assert client.seen([job])[job] == Seen(
        state="failed", exit_code=1, reason="NonZeroExitCode", source="controller", restarts=0
    )
    slurm.forget(job)
    found = client.seen([job])[job]
    assert found.state == "unknown", "neither alive, as accounting says, nor failed, as nobody says"
    assert "controller: no such job; accounting: running" in found.reason


def test_a_job_that_accounting_has_not_heard_of(slurm: FakeSlurm, client: SlurmClient, job: str) -> None:
    slurm.unlisted.add(job)
    assert client.seen([job])[job].state == "running"
    slurm.end(job)
    assert client.seen([job])[job].state == "done"
    slurm.forget(job)
    assert client.seen([job])[job].state == "unknown"
    assert slurm.submitted == [job], "nothing was submitted again"


@pytest.mark.parametrize("word", ["REQUEUED", "PREEMPTED", "NODE_FAIL"])
def test_a_requeued_job_has_a_row_for_each_life(slurm: FakeSlurm, client: SlurmClient, job: str, word: str) -> None:
    slurm.requeue(job, word=word)
    found = client.seen([job])[job]
    assert (found.state, found.reason, found.restarts) == ("pending", "BeginTime", 1)
    slurm.schedule()
    slurm.requeue(job, word=word)
    slurm.schedule()
    slurm.end(job, exit_code=0)
    assert client.seen([job])[job] == Seen(state="done", exit_code=0, source="accounting", restarts=2)


def test_tasks_of_an_array(slurm: FakeSlurm, client: SlurmClient, tmp_path: Path) -> None:
    array = _submitted(client, tmp_path, array="0-3%2")
    slurm.schedule()
    slurm.end(f"{array}_0")
    slurm.end(f"{array}_2", exit_code=9)
    found = client.seen([f"{array}_{index}" for index in (2, 1, 0)])
    assert [(one, seen.state) for one, seen in found.items()] == [
        (f"{array}_2", "failed"),
        (f"{array}_1", "running"),
        (f"{array}_0", "done"),
    ]


def test_a_job_that_waits_in_vain_is_cancelled_with_the_controllers_reason(
    slurm: FakeSlurm, client: SlurmClient, job: str, tmp_path: Path
) -> None:
    waits_for = _submitted(client, tmp_path, name="after", after=(job,))
    slurm.schedule()
    assert client.seen([waits_for])[waits_for].reason == "Dependency"
    slurm.end(job, exit_code=1)
    slurm.schedule()
    found = client.seen([waits_for])[waits_for]
    assert (found.state, found.reason, found.source) == ("cancelled", "DependencyNeverSatisfied", "accounting")
    slurm.forget(waits_for)
    assert client.seen([waits_for])[waits_for].state == "cancelled"


def test_a_job_killed_by_a_signal_ends_as_in_a_shell(slurm: FakeSlurm, client: SlurmClient, job: str) -> None:
    slurm.end(job, state="FAILED")
    slurm.jobs[job].status = "0:9"
    for slurm.accounting in (True, False):
        assert client.seen([job])[job].exit_code == 137


@given(st.text(max_size=20), st.text(max_size=5))
def test_a_word_that_nobody_knows_is_unknown(word: str, status: str) -> None:
    from trackyard.launch.slurm.states import _STATES, seen

    found = seen(f"?{word}", status, "", "accounting")
    assert (found.state, found.exit_code) == ("unknown", None)
    assert {seen(one, status, "", "controller").state for one in _STATES} >= {"done", "failed"}


@given(st.lists(st.integers(0, 30), min_size=1, max_size=5), st.integers(0, 9))
def test_ids_of_arrays(numbers: list[int], limit: int) -> None:
    text = f"12_[{','.join(map(str, numbers))}{f'%{limit}' if limit else ''}]"
    assert list(tasks_of(text)) == [f"12_{number}" for number in numbers]


@pytest.mark.parametrize(
    ("text", "tasks"),
    [
        ("12", ["12"]),
        ("12_4", ["12_4"]),
        ("12_[1-3%2]", ["12_1", "12_2", "12_3"]),
        ("12_[0-6:3,9]", ["12_0", "12_3", "12_6", "12_9"]),
        ("12.batch", []),
        ("12_[1-3,...]", []),
        ("", []),
    ],
)
def test_ids(text: str, tasks: list[str]) -> None:
    assert list(tasks_of(text)) == tasks


# --- cancel, requeue


def test_cancel_and_requeue(slurm: FakeSlurm, client: SlurmClient, job: str) -> None:
    client.requeue(job)
    assert client.seen([job])[job].restarts == 1
    client.requeue(job)
    assert client.seen([job])[job].restarts == 1, "one that is in the queue is not put there twice"
    client.cancel([job])
    assert client.seen([job])[job].state == "cancelled"
    client.cancel([])
    assert slurm.count("scancel") == 1


def test_a_requeue_that_is_refused_is_an_error(slurm: FakeSlurm, client: SlurmClient) -> None:
    with pytest.raises(TrackyardError, match="Slurm did not requeue 99: Invalid job id"):
        client.requeue("99")
    assert slurm.count("scontrol") == 1


@pytest.mark.parametrize("act", ["cancel", "requeue"])
def test_a_controller_that_comes_back_is_asked_again(slurm: FakeSlurm, job: str, act: str) -> None:
    slurm.controller = False

    def sleep(seconds: float) -> None:
        slurm.slept.append(seconds)
        slurm.controller = len(slurm.slept) > 4

    client = SlurmClient(slurm, sleep=sleep, environment={})
    client.cancel([job]) if act == "cancel" else client.requeue(job)
    assert slurm.jobs[job].state == ("CANCELLED by 0" if act == "cancel" else "PENDING")
    slurm.controller = False
    stuck = SlurmClient(slurm, sleep=lambda _: None, environment={})
    with pytest.raises(EnvironmentLacking, match=f"not reached to {act}"):
        stuck.cancel([job]) if act == "cancel" else stuck.requeue(job)


@pytest.mark.parametrize("bad", ["", "12;id", "12_[1-3]", "--help", "12.0"])
def test_what_is_no_id_never_reaches_slurm(slurm: FakeSlurm, client: SlurmClient, bad: str) -> None:
    for ask in (lambda: client.seen([bad]), lambda: client.cancel([bad]), lambda: client.requeue(bad)):
        with pytest.raises(ConfigError, match="is no id of a job"):
            ask()
    assert slurm.calls == []


def test_waits_grow_to_a_minute_and_differ() -> None:
    longest = list(itertools.islice(waits(uniform=lambda: 0.0), 8))
    assert longest == [2, 4, 8, 16, 32, 60, 60, 60]
    assert list(itertools.islice(waits(uniform=lambda: 1.0), 8)) == [0.8 * wait for wait in longest]
    assert list(itertools.islice(waits(), 3)) != list(itertools.islice(waits(), 3))


def test_one_that_has_ended_hides_no_other_that_was_not_reached(
    slurm: FakeSlurm, client: SlurmClient, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = slurm._scancel
    said = [(1, "", "scancel: error: Kill job error on job id 7: Invalid job id specified\n"
             "scancel: error: Kill job error on job id 8: Socket timed out on send/recv operation\n")]  # fmt: skip
    monkeypatch.setattr(slurm, "_scancel", lambda arguments: said.pop() if said else reached(arguments))
    client.cancel(["7", job])
    assert slurm.count("scancel") == 2
    assert client.seen([job])[job].state == "cancelled"


def test_a_banner_with_a_number_is_no_job(
    slurm: FakeSlurm, client: SlurmClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = slurm._squeue

    def squeue(arguments: list[str]) -> tuple[int, str, str]:
        code, out, err = looked(arguments)
        return code, f"2026-11-22 maintenance\n{out}", err

    monkeypatch.setattr(slurm, "_squeue", squeue)
    assert _submitted(client, tmp_path) == "1"
    assert slurm.count("sbatch") == 1
