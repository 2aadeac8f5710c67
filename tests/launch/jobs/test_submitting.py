"""Submission to a scheduler that is a fake: scripts, dependencies, what is cut off, and graphs beside each other."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.launch.jobs.dvc_world import SITE
from tests.launch.jobs.graphs import job, kept
from tests.launch.slurm.fake_slurm import FakeSlurm
from trackyard.errors import ConfigError, TrackyardError
from trackyard.launch.jobs import submitting
from trackyard.launch.jobs.from_dvc import Wanted
from trackyard.launch.jobs.graph import Graph
from trackyard.launch.jobs.store import SCRIPT, Ended, Kept, graphs, open_graph
from trackyard.launch.jobs.submitting import submit, submit_stale
from trackyard.launch.slurm.client import SlurmClient

ITEMS = tuple(job(f"items-{index}", "one", array="items", index=index, stage=f"items@{index}") for index in range(3))
SECRET = "hf_" + "canary" * 5
ENVIRONMENT = {"PATH": "/usr/bin", "HF_TOKEN": SECRET, "HOME": "/home/someone"}


class Cut(BaseException):
    """What a death at a crash point is here: nothing after it runs."""


@pytest.fixture
def slurm() -> FakeSlurm:
    return FakeSlurm()


@pytest.fixture
def client(slurm: FakeSlurm) -> SlurmClient:
    return SlurmClient(slurm, sleep=slurm.sleep)


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Die at a place when it is passed for the n-th time."""

    def arm(place: str, time: int = 1) -> None:
        passed = 0

        def point(name: str) -> None:
            nonlocal passed
            passed += name == place
            if name == place and passed == time:
                raise Cut

        monkeypatch.setattr(submitting, "crash_point", point)

    return arm


def send(found: Kept, client: SlurmClient, only: set[str] | None = None) -> dict[str, str]:
    return submit(found, client, SITE, only=only, environment=ENVIRONMENT)


def send_stale(root: Path, target: str, client: SlurmClient) -> Kept | None:
    wanted = Wanted(targets=(target,))
    return submit_stale(root, wanted, client, SITE, environment=ENVIRONMENT, approve=lambda graph: None)


def end(found: Kept, name: str, state: str = "done") -> None:
    """The job's own record, with the id of its newest submission."""
    slurm_id = found.submissions(name)[-1]["slurm_id"]
    code = 0 if state in ("done", "unchanged") else 1
    found.note_ended(name, Ended(state=state, exit_code=code, detail="", at="", slurm_id=slurm_id))  # type: ignore[arg-type]


def after(slurm: FakeSlurm, number: str) -> str:
    return slurm.jobs[number].options.get("dependency", "")


def test_each_job_waits_for_what_it_needs(tmp_path: Path, slurm: FakeSlurm, client: SlurmClient) -> None:
    found = kept(tmp_path, job("one"), job("two", "one"), job("three", "one", "two"))
    assert send(found, client) == {"one": "1", "two": "2", "three": "3"}
    assert [after(slurm, number) for number in "123"] == ["", "afterok:1", "afterok:1:2"]
    first = slurm.jobs["1"]
    assert first.text.endswith(f"\nexec {sys.executable} -m trackyard work toy-1 one\n")
    assert (first.name, first.options["time"], first.options["chdir"]) == ("toy-1.one.1", "0-01:00:00", str(tmp_path))
    assert first.options["output"] == str(found.log("one"))
    assert first.options["signal"] == f"B:USR1@{SITE.jobs.signal_lead_s}"
    assert "export TRACKYARD_SITE=toy\n" in first.text
    assert "export HF_HUB_OFFLINE=1\n" in first.text
    assert (found.folder("one") / "job.sh").read_text() == first.text
    assert [line["slurm_id"] for line in open_graph(tmp_path, None).submissions("two")] == ["2"]


def test_no_secret_of_the_environment_is_written(tmp_path: Path, client: SlurmClient) -> None:
    found = kept(tmp_path, job("one"), job("two", "one"))
    send(found, client)
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) >= 5
    assert not any(SECRET.encode() in text for text in written)


def test_an_array_is_one_script_and_is_waited_for_as_a_whole_or_by_task(
    tmp_path: Path, slurm: FakeSlurm, client: SlurmClient
) -> None:
    every = tuple(one.name for one in ITEMS)
    found = kept(tmp_path, job("one"), *ITEMS, job("last", *every), job("some", "items-0", "items-2"))
    ids = send(found, client)
    assert [ids[name] for name in every] == ["2_0", "2_1", "2_2"]
    assert slurm.count("sbatch") == 4
    array = slurm.jobs["2_0"]
    assert (array.options["array"], array.options["dependency"]) == ("0,1,2%2", "afterok:1")
    assert array.options["output"] == str(found.folder("items") / "log-%a.txt")
    assert array.text.endswith(" work toy-1 items\n")
    assert (after(slurm, "3"), after(slurm, "4")) == ("afterok:2", "afterok:2_0:2_2")


@pytest.mark.parametrize("place", ["between-submission-and-note", "between-two-submissions"])
@pytest.mark.parametrize("time", [1, 2, 3])
def test_what_was_cut_off_is_finished_and_nothing_is_submitted_twice(
    tmp_path: Path,
    slurm: FakeSlurm,
    client: SlurmClient,
    cut: Callable[[str, int], None],
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    time: int,
) -> None:
    found = kept(tmp_path, job("one"), *ITEMS, job("last", *(one.name for one in ITEMS)))
    cut(place, time)
    with pytest.raises(Cut):
        send(found, client)
    assert len(slurm.submitted) == time
    monkeypatch.undo()
    send(open_graph(tmp_path, None), client)
    assert len(slurm.submitted) == 3
    assert (after(slurm, "2_0"), after(slurm, "3")) == ("afterok:1", "afterok:2")
    assert [found.submissions(name)[-1]["slurm_id"] for name in ("one", "items-1", "last")] == ["1", "2_1", "3"]
    assert send(found, client) == {}, "all is submitted"


@pytest.mark.parametrize("array", [None, "one"])
def test_the_log_is_where_the_job_writes_whatever_the_checkout_is_called(
    tmp_path: Path, client: SlurmClient, array: str | None
) -> None:
    found = kept(tmp_path / "50%jobs", job("one", array=array, index=None if array is None else 0))
    send(found, client)
    script = (found.folder("one") / SCRIPT).read_text()
    (line,) = (line for line in script.splitlines() if line.startswith("#SBATCH --output="))
    written = re.sub("%(.)", lambda found: {"%": "%", "a": "0"}.get(found[1], "?"), line.partition("=")[2].strip('"'))
    assert Path(written) == found.log("one"), "as sbatch reads it"


def test_answers_that_are_lost_submit_nothing_twice(tmp_path: Path, slurm: FakeSlurm, client: SlurmClient) -> None:
    slurm.lose = 2
    found = kept(tmp_path, job("one"), job("two", "one"))
    assert send(found, client) == {"one": "1", "two": "2"}
    assert slurm.submitted == ["1", "2"]


def test_a_retry_is_another_submission_of_what_is_named(tmp_path: Path, slurm: FakeSlurm, client: SlurmClient) -> None:
    found = kept(tmp_path, job("one"), *ITEMS, job("last", *(one.name for one in ITEMS)))
    send(found, client)
    for name, state in (("one", "done"), ("items-0", "done"), ("items-1", "failed"), ("items-2", "unchanged")):
        end(found, name, state)
    assert send(found, client, {"items-1", "last"}) == {"items-1": "4_1", "last": "5"}
    assert (slurm.jobs["4_1"].options["array"], slurm.jobs["4_1"].name) == ("1%2", "toy-1.items.2")
    assert after(slurm, "4_1") == "", "Slurm may have forgotten the id of what has succeeded"
    assert after(slurm, "5") == "afterok:4_1"


def test_what_is_alive_is_waited_for_under_its_newest_id(tmp_path: Path, slurm: FakeSlurm, client: SlurmClient) -> None:
    found = kept(tmp_path, job("one"), job("two", "one"), job("three", "two"))
    send(found, client, {"one", "two", "three"})
    send(found, client, {"two"})
    send(found, client, {"three"})
    assert [after(slurm, number) for number in slurm.submitted[3:]] == ["afterok:1", "afterok:4"]


def test_a_job_is_not_submitted_without_what_it_waits_for(tmp_path: Path, client: SlurmClient) -> None:
    found = kept(tmp_path, job("one"), job("two", "one"))
    with pytest.raises(ConfigError, match="two waits for one, which was never submitted"):
        send(found, client, {"two"})


def test_graphs_of_stages_apart_run_beside_each_other(tmp_path: Path, slurm: FakeSlurm, client: SlurmClient) -> None:
    send(kept(tmp_path, job("one"), id="toy-1"), client)
    send(kept(tmp_path, job("other"), id="toy-2"), client)
    assert len(slurm.submitted) == 2


@pytest.mark.parametrize(
    ("makes", "upstream"),
    [("one", ("one",)), ("other", ("one", "other")), ("source", ("source",))],
    ids=["both make it", "this one reads what the other makes", "this one makes what the other reads"],
)
def test_a_graph_that_meets_one_that_is_alive_is_refused(
    tmp_path: Path, slurm: FakeSlurm, client: SlurmClient, makes: str, upstream: tuple[str, ...]
) -> None:
    first = kept(tmp_path, job("one"), id="toy-1", upstream=("source", "one"))
    send(first, client)
    second = kept(tmp_path, job(makes), id="toy-2", upstream=upstream)
    for _ in ("pending", "running"):
        with pytest.raises(TrackyardError, match="graph toy-1 has not ended: one ") as refused:
            send(second, client)
        assert "`trackyard cancel toy-1`" in refused.value.fix
        slurm.schedule()
    assert len(slurm.submitted) == 1
    end(first, "one")
    send(second, client)
    assert len(slurm.submitted) == 2


def test_a_job_that_nobody_knows_of_may_be_alive(tmp_path: Path, slurm: FakeSlurm, client: SlurmClient) -> None:
    send(kept(tmp_path, job("one"), id="toy-1"), client)
    slurm.accounting = False
    slurm.forget("1")
    with pytest.raises(TrackyardError, match="one \\(job 1\\) is unknown"):
        send(kept(tmp_path, job("one"), id="toy-2"), client)


@pytest.mark.parametrize("state", ["CANCELLED by 0", "FAILED", "TIMEOUT", "NODE_FAIL"])
def test_a_job_that_ended_without_a_record_blocks_nobody(
    tmp_path: Path, slurm: FakeSlurm, client: SlurmClient, state: str
) -> None:
    send(kept(tmp_path, job("one"), id="toy-1"), client)
    slurm.end("1", exit_code=1, state=state)
    assert send(kept(tmp_path, job("one"), id="toy-2"), client) == {"one": "2"}


def test_stale_stages_are_submitted_and_done_ones_are_not(fresh: Path, slurm: FakeSlurm, client: SlurmClient) -> None:
    found = send_stale(fresh, "second", client)
    assert found is not None
    assert [one.name for one in found.graph.jobs] == ["first", "second"]
    assert after(slurm, "2") == "afterok:1"
    with pytest.raises(TrackyardError, match=f"graph {found.graph.id} has not ended"):
        send_stale(fresh, "first", client)
    assert len(graphs(fresh)) == 1, "a graph that is refused is not kept"
    assert send_stale(fresh, "other", client) is not None


def test_nothing_is_submitted_where_all_is_up_to_date(done: Path, slurm: FakeSlurm, client: SlurmClient) -> None:
    assert send_stale(done, "joined", client) is None
    assert (slurm.calls, graphs(done)) == ([], [])


def test_a_graph_that_is_not_approved_of_leaves_nothing(fresh: Path, slurm: FakeSlurm, client: SlurmClient) -> None:
    def approve(graph: Graph) -> None:
        raise ConfigError(what=" ".join(one.name for one in graph.jobs), why="for a test", fix="none")

    wanted = Wanted(targets=("second",))
    with pytest.raises(ConfigError, match="first second"):
        submit_stale(fresh, wanted, client, SITE, environment=ENVIRONMENT, approve=approve)
    assert (slurm.calls, graphs(fresh)) == ([], [])


def test_a_refusal_names_the_graph_that_is_left(fresh: Path, client: SlurmClient, slurm: FakeSlurm) -> None:
    slurm.refusal = "Invalid qos specification"
    with pytest.raises(ConfigError, match="Invalid qos") as refused:
        send_stale(fresh, "second", client)
    (left,) = graphs(fresh)
    assert f"`trackyard retry {left.graph.id}`" in refused.value.fix
    slurm.refusal = ""
    assert send(left, client) == {"first": "1", "second": "2"}


def test_a_submission_that_was_not_noted_keeps_other_graphs_away(
    tmp_path: Path, slurm: FakeSlurm, client: SlurmClient, cut: Callable[..., None]
) -> None:
    first = kept(tmp_path, job("one"))
    cut("between-submission-and-note")
    with pytest.raises(Cut):
        send(first, client)
    cut("nowhere")
    second = kept(tmp_path, job("one"), id="toy-2")
    with pytest.raises(TrackyardError, match="nobody has noted whether one of graph toy-1 was submitted") as refused:
        send(second, client)
    assert "trackyard retry toy-1" in refused.value.fix
    assert sorted(slurm.jobs) == ["1"]
    assert send(first, client) == {"one": "1"}
    assert sorted(slurm.jobs) == ["1"]


def test_a_submission_that_was_refused_is_in_no_doubt(
    tmp_path: Path, slurm: FakeSlurm, client: SlurmClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted = slurm._sbatch
    monkeypatch.setattr(slurm, "_sbatch", lambda arguments: (1, "", "sbatch: error: Invalid account\n"))
    first = kept(tmp_path, job("one"))
    with pytest.raises(ConfigError, match="Invalid account"):
        send(first, client)
    monkeypatch.setattr(slurm, "_sbatch", accepted)
    assert send(kept(tmp_path, job("one"), id="toy-2"), client) == {"one": "1"}
