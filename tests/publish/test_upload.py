"""An upload is private, whole and of exactly what was shown, goes on where it was, and shows its token to one host."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.publish.hub_server import COMMIT, REPO, SECRET, Hub, files, serving
from trackyard.errors import ConfigError, DataError, EnvironmentLacking, TrackyardError
from trackyard.publish import upload as uploading
from trackyard.publish.push import PushPlan, plan_push
from trackyard.publish.upload import TOKEN, upload


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
    assert len(hub.commits) == 1  # what is there already is not committed again
    assert set(hub.puts.values()) == {1}  # and not sent again


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
    hub.private = True  # by its owner, in the meantime
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


OTHERS = {
    "README.md": b"# Of somebody else\n",
    "model.safetensors": b"other weights",
    "model-00002-of-00002.safetensors": b"a shard that would be loaded with ours",
    ".gitignore": b"*.safetensors\n",
}


@pytest.mark.parametrize("name", OTHERS)
def test_nothing_of_somebody_else_is_written_over_or_mixed_with(hub: Hub, folder: Path, name: str) -> None:
    hub.private = True
    hub.held[name] = OTHERS[name]
    with pytest.raises(ConfigError, match="holds 1 other files") as caught:
        upload(planned(folder, hub), lambda line: None)
    assert name in caught.value.what
    assert caught.value.fix.endswith(f"HF_ENDPOINT={hub.url} hf repos delete-files {REPO} '*'")
    assert (hub.commits, hub.puts) == ([], {})


def test_files_that_are_there_already_are_no_obstacle(hub: Hub, folder: Path) -> None:
    """Of a large one and of an ordinary one the hub knows different digests."""
    hub.private = True
    hub.held |= {name: data for name, data in files(folder).items() if name.startswith("vae/")}
    assert upload(planned(folder, hub), lambda line: None) == COMMIT
    assert hub.held.items() >= files(folder).items()


def test_a_commit_of_somebody_else_in_the_meantime_stops_the_push(hub: Hub, folder: Path) -> None:
    def meanwhile(_line: str) -> None:
        if not hub.commits:
            hub.commits.append({})

    with pytest.raises(TrackyardError, match="HTTP 412"):
        upload(planned(folder, hub), meanwhile)
    assert hub.commits == [{}]


def test_a_hub_that_leaves_files_out_is_found_out(hub: Hub, folder: Path) -> None:
    hub.ignores = "model.safetensors"
    with pytest.raises(DataError, match=r"took the commit, and lacks 1 files of it: model\.safetensors"):
        upload(planned(folder, hub), lambda line: None)


def test_a_repository_that_was_renamed_is_another_one(hub: Hub, folder: Path) -> None:
    hub.private, hub.called = True, "someone-else/export"
    with pytest.raises(ConfigError, match=f"the hub calls {REPO} someone-else/export"):
        upload(planned(folder, hub), lambda line: None)
    assert hub.commits == []


def test_an_answer_that_is_none_of_a_hub(hub: Hub, folder: Path) -> None:
    """Such as the page of a proxy: the library raises what its own errors do not cover."""
    hub.garbles = True
    with pytest.raises(TrackyardError, match=r"the upload to someone/export failed \(JSONDecodeError\)"):
        upload(planned(folder, hub), lambda line: None)


def test_the_end_of_a_line_is_no_part_of_a_token(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN, f"{SECRET}\n")
    upload(planned(folder, hub), lambda line: None)
    assert hub.tokens == {f"Bearer {SECRET}"}


def test_no_other_host_is_shown_the_token(hub: Hub, folder: Path) -> None:
    """Neither one that uploads are to be confirmed at, nor one that a question is sent on to."""
    with serving() as other:
        hub.verify = other.url
        upload(planned(folder, hub), lambda line: None)
        confirmed = [token for _, path, token in other.seen if path == "/confirmed"]
        assert confirmed == ["", ""]
        other.seen.clear()
        other.private, other.commits, other.held, hub.redirect = True, hub.commits, hub.held, other.url
        upload(planned(folder, hub), lambda line: None)
        assert other.seen
        assert {token for _, _, token in other.seen} == {""}
        # The same questions to the hub itself did carry it, or this test would show nothing.
        assert {token for _, _, token in hub.seen if token} == {f"Bearer {SECRET}"}


def test_xet_shows_the_token_to_no_other_host(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks by itself, past the guard; what is sent on to elsewhere goes there without the token."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", False)
    with serving() as other:
        hub.redirect, hub.redirects = other.url, "xet-write-token"
        with pytest.raises(TrackyardError, match="the upload to someone/export failed"):
            upload(planned(folder, hub), lambda line: None)
        assert {token for _, path, token in hub.seen if "xet-write-token" in path} == {f"Bearer {SECRET}"}
        assert [token for _, path, token in other.seen if "xet-write-token" in path] == [""]


def test_without_the_guard_another_host_is_shown_the_token(hub: Hub, folder: Path) -> None:
    """What the guard is for: the library by itself takes the token to the address that the hub names."""
    from huggingface_hub import CommitOperationAdd, HfApi

    with serving() as other:
        hub.verify, hub.private = other.url, True
        data = (folder / "model.safetensors").read_bytes()
        operation = CommitOperationAdd(path_in_repo="model.safetensors", path_or_fileobj=data)
        HfApi(endpoint=hub.url, token=SECRET).preupload_lfs_files(REPO, [operation])
        assert [token for _, path, token in other.seen if path == "/confirmed"] == [f"Bearer {SECRET}"]


def test_another_address_with_the_same_bytes_is_another_plan(hub: Hub, folder: Path) -> None:
    plan = planned(folder, hub)
    assert replace(plan, endpoint="https://hub.example.org").digest != plan.digest
