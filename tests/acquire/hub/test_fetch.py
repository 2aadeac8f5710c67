"""Hub datasets: settled before, proved after, never a part; against a hub on 127.0.0.1 that fails by plan."""

from __future__ import annotations

import hashlib
import json
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from huggingface_hub import constants, snapshot_download
from hypothesis import given
from hypothesis import strategies as st

from tests.loopback.hub import SIGNATURE, Fault, LoopbackHub
from trackyard.acquire.hub import fetch as hub_module
from trackyard.acquire.hub.fetch import (
    FetchedRepository,
    HubReport,
    Patience,
    RemoteFile,
    check_access,
    fetch_repository,
    list_repository,
    read_record,
    verify_repository,
)
from trackyard.acquire.places import Room
from trackyard.catalog.entries import HubSource
from trackyard.errors import ConfigError, DataError, EnvironmentLacking, TrackyardError
from trackyard.exclusive import exclusive

REPO = "allenai/pixmo-mini"
LARGE = "data/train-00000.parquet"
SMALL = "README.md"
QUICK = Patience(tries=3, first_s=0.01, longest_s=0.02)
CANARY = "hf_CanaryCanaryCanaryCanary0123456789"  # secret-scan: allow


def bytes_of(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


FILES = {
    SMALL: b"# PixMo, small\n",
    ".gitattributes": b"*.parquet filter=lfs\n",
    LARGE: bytes_of(1, 300_000),
    "data/train-00001.parquet": bytes_of(2, 200_000),
    "data/deep/er/notes.json": b"{}",
}


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub(page=3) as hub:
        hub.add_repository(REPO, FILES)
        yield hub


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No login, no offline variable, short timeouts."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 1.0)
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 1.0)


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that huggingface_hub would have slept; it does not."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "hub"


def fetch(hub: LoopbackHub, cache: Path, source: HubSource | None = None, **options: object) -> FetchedRepository:
    chosen = source or HubSource(repo=REPO)
    return fetch_repository(chosen, cache=cache, endpoint=hub.url, **{"patience": QUICK, **options})  # type: ignore[arg-type]


def content(fetched: FetchedRepository) -> dict[str, bytes]:
    found = {str(p.relative_to(fetched.directory)): p.read_bytes() for p in fetched.directory.rglob("*") if p.is_file()}
    assert sorted(found) == sorted(file.path for file in fetched.contents)
    return found


def files_asked(hub: LoopbackHub) -> list[str]:
    """Files of which a body was asked, sorted."""
    prefix = f"{REPO}/"
    return sorted(
        r.resource.removeprefix(prefix) for r in hub.log if r.method == "GET" and r.resource.startswith(prefix)
    )


def record_of(cache: Path, commit: str, repo: str = REPO) -> dict[str, object]:
    return json.loads((cache / f"trackyard/datasets--{repo.replace('/', '--')}/{commit}.json").read_text())


def pinned(hub: LoopbackHub, **more: object) -> HubSource:
    commit = hub.repositories["dataset", REPO].branches["main"]
    return HubSource(repo=REPO, revision=commit, **more)


# What is there


def test_a_listing_states_every_file_with_its_digest_over_all_pages(hub: LoopbackHub) -> None:
    listing = list_repository(HubSource(repo=REPO), endpoint=hub.url)
    assert {file.path: file.bytes for file in listing.files} == {path: len(data) for path, data in FILES.items()}
    by_path = {file.path: file for file in listing.files}
    assert by_path[LARGE].sha256 == hashlib.sha256(FILES[LARGE]).hexdigest()
    assert by_path[LARGE].git_sha1 is None
    git = hashlib.sha1(b"blob %d\0" % len(FILES[SMALL]) + FILES[SMALL]).hexdigest()
    assert (by_path[SMALL].git_sha1, by_path[SMALL].sha256) == (git, None)
    assert hub.counts()[f"tree {REPO}"] > 1, "the list came in one page, so paging was not tried"
    assert (listing.pinned, listing.gated) == (False, False)
    assert list_repository(pinned(hub), endpoint=hub.url).pinned


def test_an_unpinned_source_means_the_commit_of_main_at_that_moment(hub: LoopbackHub, cache: Path) -> None:
    first = fetch(hub, cache)
    newer = hub.add_repository(REPO, {**FILES, SMALL: b"newer\n"})
    assert read_record(HubSource(repo=REPO), cache).commit == first.commit
    second = fetch(hub, cache)
    assert (second.commit, second.pinned) == (newer, False)
    assert content(second)[SMALL] == b"newer\n"
    assert read_record(HubSource(repo=REPO), cache).commit == newer
    old = read_record(HubSource(repo=REPO, revision=first.commit), cache)
    assert content(old)[SMALL] == FILES[SMALL]
    assert old.pinned


def test_a_list_that_goes_on_at_another_host_is_not_followed(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", CANARY)
    hub.next_page_at = hub.cdn_url
    with pytest.raises(EnvironmentLacking, match="a list that continues at 127"):
        list_repository(HubSource(repo=REPO), endpoint=hub.url)
    assert not any(request.cdn for request in hub.log)


# Bringing it


def test_the_copy_is_identical_and_the_hub_library_finds_it_offline(hub: LoopbackHub, cache: Path) -> None:
    seen: list[tuple[int, int]] = []
    fetched = fetch(hub, cache, progress=lambda done, total: seen.append((done, total)))
    total = sum(map(len, FILES.values()))
    assert content(fetched) == FILES
    assert (fetched.files, fetched.bytes, fetched.pinned) == (len(FILES), total, False)
    assert seen[-1] == (total, total)
    assert {whole for _, whole in seen} == {total}
    assert record_of(cache, fetched.commit)["state"] == "complete"
    found = snapshot_download(REPO, repo_type="dataset", cache_dir=cache, local_files_only=True)
    assert Path(found) == fetched.directory


def test_what_is_expected_is_written_before_the_first_byte(hub: LoopbackHub, cache: Path) -> None:
    first: list[tuple[object, list[str]]] = []

    def look(_done: int, _total: int) -> None:
        if not first:
            record = record_of(cache, hub.repositories["dataset", REPO].branches["main"])
            first.append((record["state"], files_asked(hub)))
            assert {entry["path"] for entry in record["files"]} == set(FILES)  # type: ignore[attr-defined]

    fetch(hub, cache, progress=look)
    assert first == [("expected", [])]


def test_a_complete_pinned_copy_needs_no_hub(hub: LoopbackHub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = fetch(hub, cache, pinned(hub))
    hub.forget_log()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert fetch(hub, cache, pinned(hub)) == fetched
    assert hub.log == []


def test_patterns_choose_and_a_later_choice_adds_to_an_earlier_one(hub: LoopbackHub, cache: Path) -> None:
    first = pinned(hub, files=("data/*.parquet",))
    fetched = fetch(hub, cache, first)
    assert content(fetched) == {path: FILES[path] for path in FILES if path.endswith(".parquet")}
    with pytest.raises(DataError, match="3 of 5 files are not there"):
        read_record(pinned(hub), cache)
    hub.forget_log()
    assert content(fetch(hub, cache, pinned(hub))) == FILES
    assert files_asked(hub) == sorted(path for path in FILES if not path.endswith(".parquet"))
    assert read_record(first, cache).files == 2


def test_a_pattern_that_names_nothing_is_refused(hub: LoopbackHub, cache: Path) -> None:
    with pytest.raises(ConfigError) as error:
        fetch(hub, cache, pinned(hub, files=("data/*", "*.arrow")))
    assert "'*.arrow' matches none of the 5 files" in error.value.what
    assert files_asked(hub) == []


def test_a_model_repository(hub: LoopbackHub, cache: Path) -> None:
    hub.add_repository("EleutherAI/tiny", {"config.json": b"{}", "model.safetensors": bytes_of(5, 4000)}, kind="model")
    source = HubSource(repo="EleutherAI/tiny")
    fetched = fetch(hub, cache, source, kind="model")
    assert fetched.directory.parts[-3:-1] == ("models--EleutherAI--tiny", "snapshots")
    assert verify_repository(source, cache, full=True, kind="model").sound
    with pytest.raises(DataError):
        read_record(source, cache)


def test_equal_files_are_one_blob(hub: LoopbackHub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    twins = {"a.parquet": FILES[LARGE], "b.parquet": FILES[LARGE]}
    hub.add_repository("o/twins", twins)
    monkeypatch.setattr(hub_module, "room", lambda _: Room(device=1, free_bytes=300_000, free_inodes=None))
    assert content(fetch(hub, cache, HubSource(repo="o/twins"))) == twins


# Faults that pass


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind="status", status=503, times=2),
        Fault(kind="status", status=500, times=2, methods=("HEAD",)),
        Fault(kind="status", status=502),
        Fault(kind="status", status=429, retry_after="7", times=2),
        # huggingface_hub repeats a first HEAD at once, and waits as it was asked from the second on.
        Fault(kind="status", status=429, retry_after="7", methods=("HEAD",), times=2),
        Fault(kind="hang", seconds=5),
        Fault(kind="hang", seconds=5, methods=("HEAD",)),
        Fault(kind="stall", seconds=5, times=2),
        Fault(kind="truncate", times=2),
        Fault(kind="reset", times=2),
        Fault(kind="corrupt"),
        Fault(kind="redirect", methods=("HEAD", "GET")),
    ],
    ids=lambda fault: f"{fault.kind}-{'-'.join(fault.methods)}-{fault.status}",
)
def test_after_a_fault_the_bytes_are_the_same(hub: LoopbackHub, cache: Path, naps: list[float], fault: Fault) -> None:
    for path in (LARGE, SMALL):
        hub.faults.plan(f"{REPO}/{path}", fault)
    fetched = fetch(hub, cache)
    assert content(fetched) == FILES
    assert verify_repository(HubSource(repo=REPO), cache, full=True).sound
    if fault.status == 429:
        assert max(naps) >= 7, "Retry-After was not honoured"


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind="status", status=503, times=2),
        Fault(kind="status", status=429, retry_after="0"),
        Fault(kind="hang", seconds=5),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}",
)
def test_lists_are_asked_for_again(hub: LoopbackHub, fault: Fault) -> None:
    hub.faults.plan(f"tree {REPO}", fault)
    patience = Patience(tries=3, first_s=0.01, timeout_s=1.0)
    assert len(list_repository(HubSource(repo=REPO), endpoint=hub.url, patience=patience).files) == len(FILES)


@given(st.integers(1, 8), st.one_of(st.none(), st.floats(0, 2000)))
def test_waiting_is_jittered_and_has_an_end(attempt: int, asked: float | None) -> None:
    patience = Patience()
    wait = patience.wait_s(attempt, asked)
    if attempt >= patience.tries or (asked is not None and asked > patience.longest_asked_s):
        assert wait is None
    elif asked is not None:
        assert wait is not None
        assert asked < wait <= asked + 1
    else:
        full = min(patience.longest_s, patience.first_s * 2 ** (attempt - 1))
        assert wait is not None
        assert full / 2 <= wait <= full


# Faults that stay


def test_a_file_that_stays_wrong_is_refused_and_removed(hub: LoopbackHub, cache: Path) -> None:
    hub.faults.plan(f"{REPO}/{LARGE}", Fault(kind="corrupt", times=None))
    with pytest.raises(DataError) as error:
        fetch(hub, cache, workers=1)
    assert error.value.what == f"{LARGE} of {REPO} came twice with a wrong digest"
    assert hashlib.sha256(FILES[LARGE]).hexdigest() in error.value.why
    assert hub.counts("GET")[f"{REPO}/{LARGE}"] == 2
    commit = hub.repositories["dataset", REPO].branches["main"]
    storage = cache / "datasets--allenai--pixmo-mini"
    assert not (storage / "snapshots" / commit / LARGE).is_symlink()
    assert not (storage / "blobs" / hashlib.sha256(FILES[LARGE]).hexdigest()).exists()
    assert record_of(cache, commit)["state"] == "expected"
    for refused in (lambda: read_record(pinned(hub), cache), lambda: verify_repository(pinned(hub), cache, full=False)):
        with pytest.raises(DataError, match="is not complete"):
            refused()
    with pytest.raises(DataError):
        read_record(HubSource(repo=REPO), cache)
    # What was proved before is not fetched again once the hub is healthy.
    proved = {e["path"] for e in record_of(cache, commit)["files"] if e["state"] == "proved"}  # type: ignore[attr-defined]
    hub.faults.clear()
    hub.forget_log()
    assert content(fetch(hub, cache)) == FILES
    assert LARGE in files_asked(hub)
    assert not proved & set(files_asked(hub))


def test_a_hub_that_contradicts_its_list_is_refused(hub: LoopbackHub, cache: Path) -> None:
    hub.add_repository("o/liar", {"a.parquet": b"one"}, stated={"a.parquet": b"another"})
    with pytest.raises(DataError, match="wrong size"):
        fetch(hub, cache, HubSource(repo="o/liar"))


@pytest.mark.parametrize(("status", "why"), [(503, "the hub is disturbed"), (500, "the hub is disturbed")])
def test_patience_ends(hub: LoopbackHub, cache: Path, status: int, why: str) -> None:
    hub.faults.plan(f"{REPO}/{LARGE}", Fault(kind="status", status=status, times=None))
    with pytest.raises(TrackyardError) as error:
        fetch(hub, cache)
    assert f"HTTP {status} for {LARGE}" in error.value.what
    assert why in error.value.why
    assert hub.counts("GET")[f"{REPO}/{LARGE}"] == QUICK.tries


def test_a_wait_beyond_measure_is_told_and_not_waited(hub: LoopbackHub, cache: Path) -> None:
    hub.faults.plan(f"tree {REPO}", Fault(kind="status", status=429, retry_after="86400", times=None))
    with pytest.raises(TrackyardError) as error:
        fetch(hub, cache)
    assert "HTTP 429" in error.value.what
    assert "in 86400 s" in error.value.fix


def test_a_redirect_loop_ends(hub: LoopbackHub, cache: Path) -> None:
    hub.faults.plan(f"{REPO}/{LARGE}", Fault(kind="loop", times=None, methods=("HEAD", "GET")))
    with pytest.raises(TrackyardError, match="TooManyRedirects"):
        fetch(hub, cache)


def test_one_failure_stops_the_others(hub: LoopbackHub, cache: Path) -> None:
    hub.page = 1000
    hub.add_repository("o/many", {f"{n:03}.parquet": bytes_of(n, 1000) for n in range(200)})
    hub.faults.plan("o/many/000.parquet", Fault(kind="status", status=500, times=None))
    with pytest.raises(TrackyardError):
        fetch(hub, cache, HubSource(repo="o/many"), workers=2, patience=Patience(tries=1))
    assert sum(hub.counts("GET").values()) < 100


# Refusals before the first byte


def gated(hub: LoopbackHub) -> HubSource:
    hub.add_repository("allenai/closed", FILES, gated=True, token=CANARY)
    return HubSource(repo="allenai/closed")


@pytest.mark.parametrize("token", [None, "hf_AnotherAccountThatAcceptedNothing"])  # secret-scan: allow
def test_a_gated_repository_names_the_page_and_the_command(
    hub: LoopbackHub, cache: Path, monkeypatch: pytest.MonkeyPatch, token: str | None
) -> None:
    source = gated(hub)
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)
    assert list_repository(source, endpoint=hub.url).gated
    with pytest.raises(EnvironmentLacking) as error:
        fetch(hub, cache, source)
    assert "allenai/closed is gated" in error.value.what
    assert f"{hub.url}/datasets/allenai/closed and accept the terms there" in error.value.fix
    assert "`hf auth login`" in error.value.fix
    assert error.value.exit_code == 3
    assert not [request for request in hub.log if request.resource.startswith("allenai/closed/")]
    with pytest.raises(EnvironmentLacking):
        check_access(source, endpoint=hub.url)


def test_a_gated_repository_with_the_right_token(
    hub: LoopbackHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", CANARY)
    assert content(fetch(hub, cache, gated(hub))) == FILES


def test_a_token_that_expired(hub: LoopbackHub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "expired-token-of-long-ago")
    with pytest.raises(EnvironmentLacking) as error:
        fetch(hub, cache, gated(hub))
    assert "refuses the token" in error.value.what
    assert "expired-token" not in str(error.value)


def test_unknown_and_private_repositories(hub: LoopbackHub, cache: Path) -> None:
    hub.add_repository("o/private", FILES, private=True, token=CANARY)
    for repo in ("o/nothing", "o/private"):
        with pytest.raises(ConfigError) as error:
            fetch(hub, cache, HubSource(repo=repo))
        assert f"knows no dataset '{repo}'" in error.value.what
        assert f"{hub.url}/datasets/{repo}" in error.value.fix


def test_an_unknown_revision(hub: LoopbackHub, cache: Path) -> None:
    with pytest.raises(ConfigError) as error:
        fetch(hub, cache, HubSource(repo=REPO, revision="0" * 40))
    assert "has no revision" in error.value.what
    assert "0" * 40 in error.value.what
    assert not cache.joinpath("trackyard/datasets--allenai--pixmo-mini").exists()


def test_no_hub_at_the_endpoint(hub: LoopbackHub, cache: Path) -> None:
    started = time.monotonic()
    with pytest.raises(EnvironmentLacking) as error:
        fetch_repository(HubSource(repo=REPO), cache=cache, endpoint="http://127.0.0.1:1")
    assert time.monotonic() - started < 5
    assert "no connection to http://127.0.0.1:1" in error.value.what
    assert "HF_ENDPOINT" in error.value.fix


def test_something_else_at_the_endpoint(hub: LoopbackHub, cache: Path) -> None:
    with pytest.raises(EnvironmentLacking, match="HTTP 404 without the hub's headers"):
        fetch_repository(HubSource(repo=REPO), cache=cache, endpoint=hub.cdn_url)
    hub.faults.plan(f"info {REPO}", Fault(kind="html"))
    with pytest.raises(EnvironmentLacking, match="no JSON"):
        fetch(hub, cache)


def test_a_script_is_refused_with_the_way_out(hub: LoopbackHub, cache: Path) -> None:
    hub.add_repository("o/scripted", {"scripted.py": b"import os\n", "data.zip": b"PK"})
    with pytest.raises(ConfigError) as error:
        fetch(hub, cache, HubSource(repo="o/scripted", script_based=True))
    assert "scripted.py" in error.value.what
    assert "datasets 4" in error.value.why
    assert "hf datasets info o/scripted --revision refs/convert/parquet" in error.value.fix
    fetched = fetch(hub, cache, HubSource(repo="o/scripted", script_based=True, files=("*.zip",)))
    assert content(fetched) == {"data.zip": b"PK"}
    with pytest.raises(ConfigError, match="built by a script"):
        fetch(hub, cache, HubSource(repo="o/scripted", revision=fetched.commit))


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_is_named(hub: LoopbackHub, cache: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    for refused in (lambda: fetch(hub, cache), lambda: list_repository(HubSource(repo=REPO), endpoint=hub.url)):
        with pytest.raises(EnvironmentLacking) as error:
            refused()
        assert name in error.value.what
        assert f"unset {name}" in error.value.fix
    assert hub.log == []


def test_room_is_asked_before_the_first_byte(hub: LoopbackHub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needed = sum(map(len, FILES.values()))
    monkeypatch.setattr(hub_module, "room", lambda _: Room(device=1, free_bytes=needed - 1, free_inodes=None))
    with pytest.raises(EnvironmentLacking) as error:
        fetch(hub, cache)
    assert f"needs {needed:,} bytes more" in error.value.what
    assert f"{needed - 1:,} are free" in error.value.what
    assert files_asked(hub) == []


def test_a_path_out_of_the_snapshot_is_refused(hub: LoopbackHub, cache: Path) -> None:
    hub.add_repository("o/escape", {"../../../escape.parquet": b"x"})
    with pytest.raises(DataError, match="only written below"):
        fetch(hub, cache, HubSource(repo="o/escape"))


@given(st.sampled_from(["", "/etc/passwd", "..", "a/../b", "a//b", "./a", "a\\b", "a/.."]))
def test_paths_that_are_no_plain_relative_ones(path: str) -> None:
    with pytest.raises(DataError):
        RemoteFile(path=path, bytes=1, sha256="0" * 64)


# The copy on disk


def test_a_truncated_file_is_found_and_fetched_alone(hub: LoopbackHub, cache: Path) -> None:
    source = pinned(hub)
    fetched = fetch(hub, cache, source)
    blob = (fetched.directory / LARGE).resolve()
    with open(blob, "r+b") as handle:
        handle.truncate(1000)
    report = verify_repository(source, cache, full=False)
    assert (report.changed, report.missing, report.sound) == ((LARGE,), (), False)
    hub.forget_log()
    assert content(fetch(hub, cache, source)) == FILES
    assert files_asked(hub) == [LARGE]


def test_a_deleted_blob_is_found_and_fetched_alone(hub: LoopbackHub, cache: Path) -> None:
    source = pinned(hub)
    fetched = fetch(hub, cache, source)
    (fetched.directory / LARGE).resolve().unlink()
    (fetched.directory / SMALL).unlink()
    report = verify_repository(source, cache, full=False)
    assert (set(report.missing), report.changed) == ({LARGE, SMALL}, ())
    hub.forget_log()
    assert content(fetch(hub, cache, source)) == FILES
    assert files_asked(hub) == [LARGE], "the blob of the other file was still there"


def test_a_copy_that_lost_a_file_is_no_copy_until_it_is_back(
    hub: LoopbackHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = pinned(hub)
    (fetch(hub, cache, source).directory / LARGE).resolve().unlink()
    hub.faults.plan(f"{REPO}/{LARGE}", Fault(kind="status", status=500, times=None))
    with pytest.raises(TrackyardError):
        fetch(hub, cache, source)
    with pytest.raises(DataError, match="is not complete"):
        read_record(source, cache)
    hub.forget_log()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(EnvironmentLacking, match="HF_HUB_OFFLINE is set"):
        fetch(hub, cache, source)
    assert hub.log == []


@pytest.mark.parametrize("path", [LARGE, SMALL])
def test_a_flipped_bit_is_found_by_digest_only_and_fetched_alone(hub: LoopbackHub, cache: Path, path: str) -> None:
    source = pinned(hub)
    fetched = fetch(hub, cache, source)
    blob = (fetched.directory / path).resolve()
    data = bytearray(blob.read_bytes())
    data[len(data) // 3] ^= 4
    blob.write_bytes(data)
    assert verify_repository(source, cache, full=False).sound
    read_record(source, cache)
    assert verify_repository(source, cache, full=True).changed == (path,)
    with pytest.raises(DataError, match="1 of 5 files are not there or not proved"):
        read_record(source, cache)
    hub.forget_log()
    assert content(fetch(hub, cache, source)) == FILES
    assert files_asked(hub) == [path]
    assert verify_repository(source, cache, full=True).sound


def test_a_sound_copy_and_a_file_of_someone_else(hub: LoopbackHub, cache: Path) -> None:
    source = pinned(hub, files=("data/",))
    fetched = fetch(hub, cache, source)
    seen: list[tuple[int, int]] = []
    report = verify_repository(source, cache, full=True, progress=lambda done, total: seen.append((done, total)))
    assert report == HubReport(examined=3, bytes=fetched.bytes, missing=(), changed=(), extra=())
    assert seen == [(1, 3), (2, 3), (3, 3)]
    (fetched.directory / "data/mine.txt").write_text("mine")
    report = verify_repository(source, cache, full=True)
    assert (report.extra, report.sound) == (("data/mine.txt",), True)


def test_files_that_lay_there_are_proved_and_not_fetched(hub: LoopbackHub, cache: Path) -> None:
    """A copy that huggingface_hub made earlier: right files are kept, a damaged one is replaced."""
    found = snapshot_download(REPO, repo_type="dataset", cache_dir=cache, endpoint=hub.url, max_workers=1)
    (Path(found) / LARGE).resolve().write_bytes(b"x" * len(FILES[LARGE]))
    hub.forget_log()
    assert content(fetch(hub, cache)) == FILES
    assert files_asked(hub) == [LARGE]


def test_nothing_was_ever_fetched(cache: Path) -> None:
    for source in (HubSource(repo=REPO), HubSource(repo=REPO, revision="1" * 40)):
        with pytest.raises(DataError) as error:
            read_record(source, cache)
        assert "trackyard data fetch" in error.value.fix
        with pytest.raises(DataError):
            verify_repository(source, cache, full=True)


def test_a_link_out_of_the_cache_is_cut_and_its_target_kept(hub: LoopbackHub, cache: Path, tmp_path: Path) -> None:
    source = pinned(hub)
    fetched = fetch(hub, cache, source)
    outside = tmp_path / "precious.bin"
    outside.write_bytes(b"not the hub's")
    (fetched.directory / SMALL).unlink()
    (fetched.directory / SMALL).symlink_to(outside)
    assert content(fetch(hub, cache, source)) == FILES
    assert outside.read_bytes() == b"not the hub's"


def test_a_second_process_is_refused_and_told_the_owner(hub: LoopbackHub, cache: Path) -> None:
    lock = cache / "trackyard/datasets--allenai--pixmo-mini.lock"
    with exclusive(lock, what="x", why="y"), pytest.raises(TrackyardError) as error:
        fetch(hub, cache)
    assert "is in use by process" in error.value.what
    assert content(fetch(hub, cache)) == FILES


def test_what_killed_downloads_left_is_removed_unless_its_writer_lives(hub: LoopbackHub, cache: Path) -> None:
    storage, locks = cache / "datasets--allenai--pixmo-mini", cache / ".locks/datasets--allenai--pixmo-mini"
    for folder in (storage / "blobs", locks):
        folder.mkdir(parents=True)
    dead, living = storage / "blobs/aaaa.01234567.incomplete", storage / "blobs/bbbb.01234567.incomplete"
    dead.write_bytes(b"part")
    living.write_bytes(b"part")
    held = threading.Event()
    done = threading.Event()

    def hold() -> None:
        with FileLock(locks / "bbbb.lock"):
            held.set()
            done.wait(10)

    writer = threading.Thread(target=hold)
    writer.start()
    held.wait(10)
    fetch(hub, cache)
    done.set()
    writer.join()
    assert (dead.exists(), living.exists()) == (False, True)


# Secrets


def test_token_and_signed_address_are_nowhere(
    hub: LoopbackHub,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    naps: list[float],
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HF_TOKEN", CANARY)
    hub.add_repository("o/closed", FILES, gated=True, token="hf_of_somebody_else")
    errors = []
    cases = [
        ("o/closed", "o/none", Fault(kind="redirect")),
        (REPO, f"{REPO}/{LARGE}", Fault(kind="status", status=500, times=None)),
        (REPO, f"{REPO}/{LARGE}", Fault(kind="loop", times=None)),
        (REPO, f"{REPO}/{LARGE}", Fault(kind="status", status=403, times=None)),
        (REPO, f"{REPO}/{LARGE}", Fault(kind="corrupt", times=None)),
    ]
    for repo, resource, fault in cases:
        hub.faults.clear()
        hub.faults.plan(resource, fault)
        with pytest.raises(TrackyardError) as error:
            fetch(hub, cache, HubSource(repo=repo))
        errors.append(error.value)
    hub.faults.clear()
    hub.faults.plan(f"{REPO}/{LARGE}", Fault(kind="truncate"))
    fetch(hub, cache)
    assert any(request.token for request in hub.log if not request.cdn), "no token was sent, so nothing was tried"
    assert any(request.cdn for request in hub.log)
    assert not any(request.token for request in hub.log if request.cdn), "the CDN saw the token"
    out, err = capfd.readouterr()
    texts = [str(e) for e in errors] + [repr(e.__cause__) for e in errors] + [out, err]
    for path in cache.rglob("*"):
        texts.append(str(path))
        if path.is_file():
            texts.append(path.read_bytes().decode(errors="replace"))
    for secret in (CANARY, SIGNATURE):
        assert not [text for text in texts if secret in text]


# Digests


def test_the_git_blob_id_is_gits(tmp_path: Path) -> None:
    """`git hash-object` of an empty file and of "hello\\n"."""
    known = {b"": "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391", b"hello\n": "ce013625030ba8dba906f756967f9e9ca394464a"}
    for data, sha1 in known.items():
        (tmp_path / "f").write_bytes(data)
        assert RemoteFile(path="f", bytes=len(data), git_sha1=sha1).fault(tmp_path / "f", full=True) is None


@given(st.binary(min_size=1, max_size=200), st.integers(0), st.integers(1, 255), st.booleans())
def test_any_changed_byte_is_a_fault(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, where: int, by: int, large: bool
) -> None:
    path = tmp_path_factory.mktemp("f") / "f"
    if large:
        file = RemoteFile(path="f", bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    else:
        git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        file = RemoteFile(path="f", bytes=len(data), git_sha1=git)
    assert file.fault(path, full=True) == "missing"
    path.write_bytes(data)
    assert file.fault(path, full=True) is None
    changed = bytearray(data)
    changed[where % len(data)] ^= by
    path.write_bytes(changed)
    assert (file.fault(path, full=False), file.fault(path, full=True)) == (None, "digest")
    path.write_bytes(data + b"x")
    assert file.fault(path, full=False) == "size"
