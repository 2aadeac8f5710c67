"""The graph of DVC as jobs, in a real repository: what is stale and why, who waits for whom, what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.launch.jobs.dvc_world import SITE, WITH_ACCOUNT, WITH_NETWORK
from trackyard.errors import ConfigError, TrackyardError
from trackyard.launch.jobs.from_dvc import Survey, Wanted, stale_graph, survey
from trackyard.launch.jobs.graph import Graph, Job
from trackyard.launch.sites import Site

ITEMS = ("items-a", "items-b", "items-c")
EACH = ("each-a", "each-b", "each-c")


def graph(
    root: Path, *targets: str, site: Site = SITE, environment: Mapping[str, str] | None = None, **how: Any
) -> Graph:
    return stale_graph(root, Wanted(targets=targets, **how), site, environment=environment or {})


def looked_at(root: Path, *targets: str, site: Site = SITE, **how: Any) -> Survey:
    return survey(root, Wanted(targets=targets, **how), site, environment={})


def jobs(found: Graph) -> dict[str, Job]:
    return {job.name: job for job in found.jobs}


def reasons(found: Graph) -> dict[str, tuple[str, str]]:
    return {job.name: (job.reason, job.detail) for job in found.jobs}


def test_from_a_clean_state_every_stage_is_a_job_behind_those_it_needs(fresh: Path) -> None:
    found = graph(fresh, "joined")
    assert [job.name for job in found.jobs] == ["first", "second", *ITEMS, *EACH, "joined"]
    assert {name: job.after for name, job in jobs(found).items()} == {
        "first": (),
        "second": ("first",),
        "items-a": ("second",),
        "items-b": ("second",),
        "items-c": ("second",),
        "each-a": ("items-a",),
        "each-b": ("items-b",),
        "each-c": ("items-c",),
        # items-a is a dependency too; each-a waits for it already.
        "joined": EACH,
    }
    assert {job.reason for job in found.jobs} == {"never run"}
    assert all(job.commits for job in found.jobs)
    assert found.targets == ("joined",)
    assert len(found.commit) == 40
    first = jobs(found)["first"]
    assert (first.stage, first.command, first.needs) == ("first", ("cp", "in/data.txt", "first.txt"), "train")
    assert (first.request.partition, first.request.gpus, first.request.minutes) == ("gpus", 2, 120)


def test_items_that_wait_for_the_same_are_one_array_and_others_are_not(fresh: Path) -> None:
    found = jobs(graph(fresh, "joined"))
    assert [(found[name].array, found[name].index) for name in ITEMS] == [("items", 0), ("items", 1), ("items", 2)]
    assert {found[name].array for name in EACH} == {None}
    assert found["items-b"].stage == "items@b"


def test_nothing_is_a_job_where_all_is_up_to_date(done: Path) -> None:
    found = graph(done, "joined", "parts", "fetched", "pipelines/toy/dvc.yaml")
    assert found.jobs == ()
    assert found.upstream[:2] == ("first", "second")


def test_a_changed_parameter_is_named_and_what_follows_may_be_stale(done: Path) -> None:
    (done / "params.yaml").write_text("toy: {rate: 9, size: 2}\n")
    found = reasons(graph(done, "second", "other"))
    assert found == {
        "first": ("inputs changed", "params.yaml toy.rate modified"),
        "second": ("after a stale stage", "first"),
    }


def test_a_changed_file_and_a_changed_command_are_named(done: Path) -> None:
    (done / "notes.txt").write_text("other notes")
    (done / "dvc.yaml").write_text((done / "dvc.yaml").read_text().replace("cp first.txt", "cp -p first.txt"))
    found = reasons(graph(done, "second", "other"))
    assert found == {
        "second": ("inputs changed", "its command"),
        "other": ("inputs changed", "notes.txt modified"),
    }


def test_an_output_that_is_gone_is_made_again(done: Path) -> None:
    (done / "other.txt").unlink()
    assert reasons(graph(done, "other")) == {"other": ("outputs changed", "other.txt deleted")}


def test_force_runs_the_targets_and_what_follows_them_no_more(done: Path) -> None:
    assert reasons(graph(done, "second", force=True)) == {"second": ("forced", "")}
    (done / "params.yaml").write_text("toy: {rate: 9, size: 2}\n")
    assert reasons(graph(done, "second", force=True))["second"] == ("forced", "")


def test_targets_are_what_dvc_takes(fresh: Path) -> None:
    assert [job.stage for job in graph(fresh, "pipelines/toy/dvc.yaml").jobs] == ["pipelines/toy/dvc.yaml:alone"]
    assert list(jobs(graph(fresh, "pipelines/toy/dvc.yaml:alone"))) == ["toy-alone"]
    assert list(jobs(graph(fresh, "items@b"))) == ["first", "second", "items-b"]
    assert set(jobs(graph(fresh, "items"))) == {"first", "second", *ITEMS}
    with pytest.raises(ConfigError, match="nothing-so-called"):
        graph(fresh, "nothing-so-called")
    with pytest.raises(ConfigError, match="nowhere"):
        graph(fresh, "nowhere/dvc.yaml:alone")


def test_addresses_do_not_depend_on_the_current_directory(
    fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = [job.stage for job in graph(fresh, "pipelines/toy/dvc.yaml", "second").jobs]
    monkeypatch.chdir(tmp_path)
    assert [job.stage for job in graph(fresh, "pipelines/toy/dvc.yaml", "second").jobs] == there


def test_data_that_lie_in_no_tracked_folder_are_an_obstacle(fresh: Path) -> None:
    """Missing then is missing now: the job would train, and find at its commit that there is nothing to record."""
    text = (fresh / "dvc.yaml").read_text()
    (fresh / "dvc.yaml").write_text(text.replace("deps: [in]", "deps: [in/absent]"))
    found = looked_at(fresh, "first")
    assert [one.what for one in found.obstacles] == ["stage first depends on in/absent, which is not there"]


def test_data_that_are_not_there_are_pulled_first(fresh: Path) -> None:
    shutil.rmtree(fresh / "in")
    with pytest.raises(TrackyardError) as refused:
        graph(fresh, "second")
    assert refused.value.fix == "dvc pull in.dvc"
    found = looked_at(fresh, "second")
    assert [one.fix for one in found.obstacles] == ["dvc pull in.dvc"]
    assert [job.name for job in found.graph.jobs] == ["first", "second"]
    assert found.graph.jobs[0].inputs["in"] == "missing"


def test_data_that_are_others_are_for_the_user_to_decide(done: Path) -> None:
    (done / "in" / "data.txt").write_text("other data")
    with pytest.raises(TrackyardError, match=r"in is not what in\.dvc says") as refused:
        graph(done, "first")
    assert "dvc commit in.dvc" in refused.value.fix
    assert "dvc checkout in.dvc" in refused.value.fix
    assert graph(done, "other").jobs == (), "what does not come from it is not kept from running"


def test_an_input_that_is_not_there_is_refused(fresh: Path) -> None:
    (fresh / "notes.txt").unlink()
    (fresh / "params.yaml").write_text("toy: {rate: 1}\n")
    with pytest.raises(TrackyardError, match=r"stage other depends on notes\.txt, which is not there"):
        graph(fresh, "parts")
    with pytest.raises(TrackyardError) as refused:
        graph(fresh, "first")
    assert refused.value.fix == "set toy.size in params.yaml"


def test_what_needs_the_internet_comes_first_on_a_login_node(fresh: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        graph(fresh, "fetched")
    assert refused.value.fix == "env -u TRACKYARD_SITE dvc repro fetched"
    assert [job.name for job in looked_at(fresh, "fetched").graph.jobs] == ["other"]
    assert jobs(graph(fresh, "fetched", site=WITH_NETWORK))["fetched"].after == ("other",)


def test_nobody_is_charged_unnamed_and_a_dry_run_shows_the_sizes_still(fresh: Path) -> None:
    found = looked_at(fresh, "second", site=WITH_ACCOUNT)
    assert [one.what for one in found.obstacles] == ["TOY_ACCOUNT is not set"]
    assert [job.request.account for job in found.graph.jobs] == [None, None]
    with pytest.raises(ConfigError, match="TOY_ACCOUNT"):
        graph(fresh, "second", site=WITH_ACCOUNT)
    paid = graph(fresh, "second", site=WITH_ACCOUNT, environment={"TOY_ACCOUNT": "abc123"})
    assert {job.request.account for job in paid.jobs} == {"abc123"}


def test_an_image_that_is_not_there_is_found_before_its_jobs_wait_in_a_queue(fresh: Path) -> None:
    site = SITE.model_copy(update={"image": "train"})
    (fresh / "containers").mkdir()
    (fresh / "containers" / "image.lock.json").write_text('{"schema": "trackyard-image-lock/1", "images": {}}')
    found = looked_at(fresh, "second", site=site)
    assert [one.fix for one in found.obstacles if "image build train" in one.fix], found.obstacles
    assert len(found.graph.jobs) == 2
    assert looked_at(fresh, "other", site=site).obstacles == (), "what needs no GPU runs outside of it"


def test_a_size_that_no_site_grants_is_an_obstacle_once(fresh: Path) -> None:
    greedy = SITE.shapes["train"].model_copy(update={"nodes": 9})
    site = SITE.model_copy(update={"shapes": {**SITE.shapes, "train": greedy}})
    found = looked_at(fresh, "second", site=site)
    assert found.graph.jobs == ()
    assert len(found.obstacles) == 1
    assert "9 nodes" in found.obstacles[0].what


def test_a_site_without_a_scheduler_is_told(fresh: Path) -> None:
    with pytest.raises(ConfigError, match="no scheduler"):
        looked_at(fresh, "second", site=SITE.model_copy(update={"scheduler": "none"}))


def test_another_partition_is_for_the_jobs_with_gpus(fresh: Path) -> None:
    found = jobs(graph(fresh, "joined", partition="more"))
    assert {job.request.partition for job in found.values() if job.needs != "cpu"} == {"more"}
    assert found["joined"].request.partition == "cores"


def test_parts_are_an_array_and_the_stage_behind_them_joins_and_commits(fresh: Path) -> None:
    found = jobs(graph(fresh, "parts", shards={"parts": 3}))
    assert list(found) == ["other", "parts-part-0", "parts-part-1", "parts-part-2", "parts"]
    part, join = found["parts-part-1"], found["parts"]
    assert part.command == ("cp", "other.txt", "parts.txt", "--shard", "1/3")
    assert (part.stage, part.array, part.index, part.commits, part.after) == (
        "parts",
        "parts-parts",
        1,
        False,
        ("other",),
    )
    assert join.command == ("cp", "other.txt", "parts.txt")
    assert (join.array, join.commits) == (None, True)
    assert join.after == ("parts-part-0", "parts-part-1", "parts-part-2")


@pytest.mark.parametrize("shards", [{"first": 2}, {"parts": 1}, {"nothing": 2}])
def test_what_cannot_be_divided_is_refused_with_what_can(fresh: Path, shards: dict[str, int]) -> None:
    with pytest.raises(ConfigError) as refused:
        graph(fresh, "parts", "first", shards=shards)
    assert refused.value.why.endswith(": parts")


def test_parts_of_what_is_up_to_date_are_no_jobs(done: Path) -> None:
    assert graph(done, "parts", shards={"parts": 2}).jobs == ()


def test_a_job_is_one_command_in_the_root(fresh: Path) -> None:
    text = (fresh / "dvc.yaml").read_text()
    (fresh / "dvc.yaml").write_text(text.replace("cmd: cp notes.txt other.txt", "cmd: [cp notes.txt other.txt, ls]"))
    with pytest.raises(ConfigError, match="stage other has several commands"):
        graph(fresh, "other")
    pipeline = fresh / "pipelines" / "toy" / "dvc.yaml"
    pipeline.write_text(pipeline.read_text().replace("wdir: ../..", "wdir: .").replace("notes.txt", "../../notes.txt"))
    (fresh / "dvc.yaml").write_text(text)
    with pytest.raises(ConfigError, match="works in"):
        graph(fresh, "pipelines/toy/dvc.yaml")


def test_a_stage_that_says_no_need_is_refused(fresh: Path) -> None:
    (fresh / "dvc.yaml").write_text((fresh / "dvc.yaml").read_text().replace("meta: {needs: cpu}", "meta: {}"))
    with pytest.raises(ConfigError, match=r"stage other: meta\.needs"):
        graph(fresh, "other")


def test_files_that_dvc_cannot_read_are_told(fresh: Path) -> None:
    (fresh / "dvc.yaml").write_text("stages: [")
    with pytest.raises(ConfigError, match="DVC cannot read the stages"):
        graph(fresh, "other")


def test_another_command_of_dvc_is_waited_for(fresh: Path) -> None:
    from dvc.repo import Repo

    with Repo(str(fresh)) as repo, repo.lock, pytest.raises(TrackyardError, match="DVC is at work"):
        graph(fresh, "other")
