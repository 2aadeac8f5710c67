"""An upload is private, whole and of exactly what was shown, goes on where it was, and shows its token to one host."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.publish.hub_server import COMMIT, Hub, serving
from trackyard.errors import ConfigError, DataError, EnvironmentLacking, TrackyardError
from trackyard.publish import upload as uploading
from trackyard.publish.push import PushPlan, plan_push
from trackyard.publish.upload import TOKEN, upload

REPO = "someone/export"
SECRET = "hf_" + "PushMe" * 6


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setenv(TOKEN, SECRET)
    # hf-xet, which would be used beside the hub, has a service of its own.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    with serving(REPO) as hub:
        yield hub


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name, data in {
        "README.md": b"# A card\n",
        "vae/config.json": b"{}\n",
        "model.safetensors": rng.standard_normal(20_000).astype(np.float32).tobytes(),
        "vae/weights.safetensors": rng.standard_normal(10_000).astype(np.float32).tobytes(),
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    return tmp_path


def planned(folder: Path, hub: Hub, *, public: bool = False) -> PushPlan:
    return plan_push(folder, REPO, endpoint=hub.url, public=public)


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("in_memory", [10**7, 0])
def test_the_files_arrive_as_one_commit_of_a_private_repository(
    hub: Hub, folder: Path, in_memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploading, "IN_MEMORY", in_memory)
    plan, said = planned(folder, hub), list[str]()
    assert (hub.private, hub.commits, hub.seen) == (None, [], [])  # planning sends nothing
    assert upload(plan, said.append) == COMMIT
    assert hub.private is True
    assert hub.commits == [files(folder)]
    assert hub.tokens == {f"Bearer {SECRET}"}
    assert [line.split()[-1] for line in said][:2] == ["model.safetensors", "vae/weights.safetensors"]
    upload(plan, said.append)
    assert len(hub.commits) == 2  # a repository that is there already is no obstacle
    assert set(hub.puts.values()) == {1}  # and what it holds is not sent again


def test_nothing_is_visible_before_the_commit(hub: Hub, folder: Path) -> None:
    upload(planned(folder, hub), lambda line: None)
    asked = [path for method, path, _ in hub.seen if method == "PUT" or "/commit/" in path]
    assert "/commit/" in asked[-1]
    assert sum("/commit/" in path for path in asked) == 1
    # The store takes signed addresses: no token is shown to it.
    assert {token for method, _, token in hub.seen if method == "PUT"} == {""}


def test_who_may_read_it_is_decided_beforehand(hub: Hub, folder: Path) -> None:
    hub.private = False
    with pytest.raises(ConfigError, match="is public, this push is to a private"):
        upload(planned(folder, hub), lambda line: None)
    assert hub.commits == []
    upload(planned(folder, hub, public=True), lambda line: None)
    hub.private = True
    with pytest.raises(ConfigError, match="is private, this push is to a public"):
        upload(planned(folder, hub, public=True), lambda line: None)
    assert len(hub.commits) == 1


def test_a_public_repository_is_made_when_asked_for(hub: Hub, folder: Path) -> None:
    upload(planned(folder, hub, public=True), lambda line: None)
    assert hub.private is False


def test_without_a_token_nothing_is_asked(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN)
    with pytest.raises(EnvironmentLacking, match="HF_TOKEN is not set"):
        upload(planned(folder, hub), lambda line: None)
    assert hub.seen == []


@pytest.mark.parametrize("status", [401, 403, 413])
def test_what_the_hub_says_is_not_repeated(hub: Hub, folder: Path, status: int) -> None:
    hub.refuses = status
    with pytest.raises(TrackyardError) as caught:
        upload(planned(folder, hub), lambda line: None)
    assert f"HTTP {status}" in caught.value.what
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("in_memory", [10**7, 0])
def test_a_file_that_changed_after_its_search_is_not_sent(
    hub: Hub, folder: Path, in_memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploading, "IN_MEMORY", in_memory)
    plan = planned(folder, hub)
    (folder / "README.md").write_text(f"# A card\n{SECRET}\n")
    with pytest.raises(DataError, match="has changed since it was searched"):
        upload(plan, lambda line: None)
    assert hub.seen == []


def test_no_other_host_is_shown_the_token(hub: Hub, folder: Path) -> None:
    """Neither one that uploads are to be confirmed at, nor one that a question is sent on to."""
    with serving(REPO) as other:
        hub.verify = other.url
        upload(planned(folder, hub), lambda line: None)
        confirmed = [token for _, path, token in other.seen if path == "/confirmed"]
        assert confirmed == ["", ""]
        other.seen.clear()
        other.private, hub.redirect = True, other.url
        upload(planned(folder, hub), lambda line: None)
        assert other.seen
        assert {token for _, _, token in other.seen} == {""}
        # The same questions to the hub itself did carry it, or this test would show nothing.
        assert {token for _, _, token in hub.seen if token} == {f"Bearer {SECRET}"}


def test_without_the_guard_another_host_is_shown_the_token(hub: Hub, folder: Path) -> None:
    """What the guard is for: the library by itself takes the token to the address that the hub names."""
    from huggingface_hub import CommitOperationAdd, HfApi

    with serving(REPO) as other:
        hub.verify, hub.private = other.url, True
        data = (folder / "model.safetensors").read_bytes()
        operation = CommitOperationAdd(path_in_repo="model.safetensors", path_or_fileobj=data)
        HfApi(endpoint=hub.url, token=SECRET).preupload_lfs_files(REPO, [operation])
        assert [token for _, path, token in other.seen if path == "/confirmed"] == [f"Bearer {SECRET}"]


def test_another_address_with_the_same_bytes_is_another_plan(hub: Hub, folder: Path) -> None:
    plan = planned(folder, hub)
    assert replace(plan, endpoint="https://hub.example.org").digest != plan.digest
