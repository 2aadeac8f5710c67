"""One large file: complete and right under its name or not there, however often the way to it broke."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.loopback.hostile import HostileServer, Served, closed_port, raw
from trackyard.acquire.places import Room
from trackyard.acquire.web import partial as partial_module
from trackyard.acquire.web.addresses import AddressPolicy
from trackyard.acquire.web.download import Downloaded, DownloadLimits, download_file
from trackyard.errors import ConfigError, DataError, EnvironmentLacking, TrackyardError

LOOPBACK = AddressPolicy.parse(("127.0.0.0/8",))
BODY = random.Random(0).randbytes(1_000_000)
SHA256 = hashlib.sha256(BODY).hexdigest()
CANARY = "hf_" + "C4nary0" * 5


@pytest.fixture(scope="module")
def shared() -> Iterator[HostileServer]:
    with HostileServer() as server:
        yield server


@pytest.fixture
def server(shared: HostileServer) -> HostileServer:
    shared.seen.clear()
    shared.counts.clear()
    shared.files = {"a.bin": Served(BODY)}
    return shared


def limits(**changes: object) -> DownloadLimits:
    values = {"connect_s": 2.0, "stall_s": 1.0, "stall_bytes": 1000, "attempts": 3, "backoff_s": 0.01}
    return DownloadLimits.model_validate(values | changes)


def download(url: str, target: Path, **options: object) -> Downloaded:
    given = {"expected_bytes": None, "sha256": SHA256, "policy": LOOPBACK, "limits": limits()} | options
    return download_file(url, target, **given)  # type: ignore[arg-type]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_arrives_and_leaves_nothing_else(server: HostileServer, tmp_path: Path) -> None:
    arrived: list[int] = []
    target = tmp_path / "new" / "a.bin"
    found = download(server.url("/file/a.bin"), target, expected_bytes=len(BODY), on_bytes=arrived.append)
    assert found == Downloaded(path=target, bytes=len(BODY), sha256=SHA256, resumed_from=0)
    assert target.read_bytes() == BODY
    assert sum(arrived) == len(BODY)
    assert names(target.parent) == ["a.bin"]


def test_a_complete_file_is_not_asked_for_again(server: HostileServer, tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    download(server.url("/file/a.bin"), target)
    server.seen.clear()
    assert download(server.url("/file/a.bin"), target).resumed_from == len(BODY)
    assert server.seen == []
    target.write_bytes(BODY[:-1] + b"?")
    assert download(server.url("/file/a.bin"), target).resumed_from == 0, "the control: another digest is replaced"
    assert target.read_bytes() == BODY


def test_broken_connections_are_continued(server: HostileServer, tmp_path: Path) -> None:
    server.files["a.bin"].breaks = [300_000, 200_000, 0, 100_000]
    download(server.url("/file/a.bin"), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == BODY
    ranges = [seen.headers.get("range") for seen in server.seen]
    assert ranges[0] is None
    assert "bytes=300000-" in ranges
    assert "bytes=600000-" in ranges


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    breaks=st.lists(st.integers(0, 40_000), max_size=6),
    ranges=st.booleans(),
    etag=st.sampled_from(['"v1"', 'W/"v1"', None]),
    modified=st.sampled_from(["Wed, 21 Oct 2015 07:28:00 GMT", None]),
)
def test_any_breaks_any_server_same_bytes(
    shared: HostileServer,
    tmp_path_factory: pytest.TempPathFactory,
    breaks: list[int],
    ranges: bool,
    etag: str | None,
    modified: str | None,
) -> None:
    body = BODY[:50_000]
    shared.files = {"b.bin": Served(body, etag=etag, last_modified=modified, ranges=ranges, breaks=breaks)}
    target = tmp_path_factory.mktemp("any") / "b.bin"
    digest = hashlib.sha256(body).hexdigest()
    options = {"sha256": digest, "limits": limits(attempts=20, backoff_s=0.0)}
    assert download(shared.url("/file/b.bin"), target, **options).bytes == len(body)
    assert target.read_bytes() == body


def left_behind(server: HostileServer, target: Path, at: int, **options: object) -> None:
    """What a process leaves that was given up at byte `at`."""
    server.files["a.bin"].breaks = [at, 0, 0, 0, 0, 0, 0]
    with pytest.raises(TrackyardError, match="connection") as raised:
        download(server.url("/file/a.bin"), target, **options)
    assert f"it goes on at byte {at:,}" in raised.value.fix
    assert not target.exists()
    server.files["a.bin"].breaks = []
    server.seen.clear()


def test_the_next_process_goes_on(server: HostileServer, tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    left_behind(server, target, 400_000)
    arrived: list[int] = []
    found = download(server.url("/file/a.bin?sig=new"), target, on_bytes=arrived.append)
    assert found.resumed_from == 400_000
    assert sum(arrived) == 600_000
    assert server.seen[0].headers["if-range"] == '"v1"'
    assert target.read_bytes() == BODY


def test_a_file_that_changed_meanwhile_starts_anew(server: HostileServer, tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    left_behind(server, target, 400_000)
    body = random.Random(1).randbytes(900_000)
    server.files["a.bin"] = Served(body, etag='"v2"')
    found = download(server.url("/file/a.bin"), target, sha256=None)
    assert (found.resumed_from, found.bytes) == (0, 900_000)
    assert target.read_bytes() == body


def test_a_server_that_ignores_range_starts_anew(server: HostileServer, tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    left_behind(server, target, 400_000)
    server.files["a.bin"].ranges = False
    assert download(server.url("/file/a.bin"), target).resumed_from == 0
    assert target.read_bytes() == BODY


def test_a_part_from_elsewhere_is_not_appended(server: HostileServer, tmp_path: Path) -> None:
    """A 206 that starts at another byte, or is of another size, would be glued in silently."""
    target = tmp_path / "a.bin"
    honest = server.behaviours["/file"]
    for content_range in ("bytes 0-99/1000000", "bytes 400000-400099/2000000", "bytes */1000000", "nonsense"):
        left_behind(server, target, 400_000)
        head = f"HTTP/1.1 206 Partial Content\r\nContent-Length: 100\r\nContent-Range: {content_range}\r\n\r\n"
        server.behaviours["/file"] = raw(head.encode() + bytes(100))
        with pytest.raises(TrackyardError, match="another part than the one that was asked for"):
            download(server.url("/file/a.bin"), target)
        server.behaviours["/file"] = honest
        assert download(server.url("/file/a.bin"), target).resumed_from == 0
        assert target.read_bytes() == BODY
        target.unlink()


def test_leftovers_that_prove_nothing_are_not_used(server: HostileServer, tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    sidecar = tmp_path / ".partial-a.bin.json"
    for damage in ("", "{}", '{"schema": "trackyard-download/1", "etag": "x"}', '{"schema": "trackyard-download/9"}'):
        left_behind(server, target, 400_000)
        sidecar.write_text(damage)
        assert download(server.url("/file/a.bin"), target).resumed_from == 0
        target.unlink()
    left_behind(server, target, 400_000)
    server.files["other.bin"] = server.files["a.bin"]
    assert download(server.url("/file/other.bin"), target).resumed_from == 0, "another address"
    target.unlink()
    left_behind(server, target, 400_000)
    with open(tmp_path / ".partial-a.bin", "ab") as handle:
        handle.write(bytes(2_000_000))
    assert download(server.url("/file/a.bin"), target).resumed_from == 0, "longer than the file: HTTP 416"
    assert target.read_bytes() == BODY


def test_a_validator_that_cannot_be_written_is_none(server: HostileServer, tmp_path: Path) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nETag: \xff\r\n\r\nx"
    server.behaviours["/raw"] = raw(head)
    assert download(server.url("/raw"), tmp_path / "a.bin", sha256=None).bytes == 1


def test_a_whole_partial_file_only_gets_its_name(server: HostileServer, tmp_path: Path) -> None:
    """Killed between the last byte and the rename."""
    target = tmp_path / "a.bin"
    left_behind(server, target, 400_000)
    (tmp_path / ".partial-a.bin").write_bytes(BODY)
    assert download(server.url("/file/a.bin"), target).resumed_from == len(BODY)
    assert server.seen == []
    assert names(tmp_path) == ["a.bin"]


def test_a_wrong_digest_is_never_under_the_name(server: HostileServer, tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    wrong = "0" * 64
    with pytest.raises(DataError) as raised:
        download(server.url("/file/a.bin"), target, sha256=wrong)
    assert SHA256 in raised.value.what
    assert wrong in raised.value.what
    assert names(tmp_path) == [".partial-a.bin.lock"]


def test_bytes_damaged_while_they_lay_there_are_found(server: HostileServer, tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    left_behind(server, target, 400_000)
    with open(tmp_path / ".partial-a.bin", "r+b") as handle:
        handle.seek(1000)
        handle.write(b"????")
    with pytest.raises(DataError, match="expected " + SHA256):
        download(server.url("/file/a.bin"), target)
    download(server.url("/file/a.bin"), target)
    assert target.read_bytes() == BODY


def test_another_size_is_refused_before_its_bytes(server: HostileServer, tmp_path: Path) -> None:
    arrived: list[int] = []
    with pytest.raises(DataError, match=r"has 1,000,000 bytes, expected 999,999"):
        download(server.url("/file/a.bin"), tmp_path / "a.bin", expected_bytes=999_999, on_bytes=arrived.append)
    assert arrived == []
    with pytest.raises(DataError, match="expected 5"):
        download(server.url("/endless"), tmp_path / "e.bin", expected_bytes=5, sha256=None)
    assert not list(tmp_path.glob("*.bin"))


@pytest.mark.parametrize("path", ["/status/429?times=1&after=1", "/status/500?times=2", "/reset?times=2"])
def test_passing_faults_are_waited_out(server: HostileServer, tmp_path: Path, path: str) -> None:
    started = time.monotonic()
    download(server.url(path), tmp_path / "a.bin", sha256=None)
    assert (tmp_path / "a.bin").read_bytes() == b"at last"
    assert time.monotonic() - started >= ("after" in path)


@pytest.mark.parametrize("path", ["/hang", "/hang-after-headers", "/drip", "/drip-headers", "/close", "/short"])
def test_a_server_that_brings_nothing_is_given_up(server: HostileServer, tmp_path: Path, path: str) -> None:
    started = time.monotonic()
    with pytest.raises(TrackyardError, match=r"read_timeout|connection|truncated") as raised:
        download(server.url(path), tmp_path / "a.bin", limits=limits(attempts=2, connect_s=0.1, stall_s=0.2))
    assert "run the same command again later" in raised.value.fix
    assert time.monotonic() - started < 4
    assert not (tmp_path / "a.bin").exists()


@pytest.mark.parametrize(
    ("path", "cause"),
    [
        ("/status/404", "http_404"),
        ("/status/401", "HTTP 401"),
        ("/loop", "redirects"),
        ("/redirect?to=file:///x", "bad_url"),
        ("/redirect?to=http://10.0.0.1/", "blocked_address"),
    ],
)
def test_lasting_faults_end_at_once(server: HostileServer, tmp_path: Path, path: str, cause: str) -> None:
    with pytest.raises(TrackyardError, match=cause):
        download(server.url(path), tmp_path / "a.bin")
    assert len(server.seen) <= 6


def test_a_closed_port_is_a_mistake_until_something_has_answered(server: HostileServer, tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(TrackyardError, match="ECONNREFUSED"):
        download(f"http://127.0.0.1:{closed_port()}/a", tmp_path / "a.bin", limits=limits(backoff_s=60))
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "http://127.0.0.1/a",
        "http://me:pw@example.org/a",  # secret-scan: allow
    ],
)
def test_refused_addresses_are_configuration(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match=r"the address of a\.bin is refused"):
        download(url, tmp_path / "a.bin", policy=AddressPolicy())


def test_headers_stay_with_their_origin(server: HostileServer, tmp_path: Path) -> None:
    secret = {"Authorization": f"Bearer {CANARY}"}
    with HostileServer() as other:
        other.files["a.bin"] = Served(BODY)
        download(server.url("/redirect?to=" + other.url("/file/a.bin")), tmp_path / "a.bin", headers=secret)
        assert server.seen[0].headers["authorization"] == f"Bearer {CANARY}"
        assert "authorization" not in other.seen[0].headers
    server.seen.clear()
    download(server.url("/redirect?to=/file/a.bin"), tmp_path / "b.bin", headers=secret)
    assert ["authorization" in seen.headers for seen in server.seen] == [True, True], "the control: the same origin"


def test_no_secret_in_errors_or_on_disk(server: HostileServer, tmp_path: Path) -> None:
    secret = {"Authorization": f"Bearer {CANARY}"}
    for path in (
        f"/status/404?x={CANARY}",
        f"/close?x={CANARY}",
        f"/redirect?to=http://a:{CANARY}@b/",
        f"/status/403/{CANARY}",
    ):
        for url in (server.url(path), server.url(path).replace("://", f"://me:{CANARY}@")):
            with pytest.raises(TrackyardError) as raised:
                download(url, tmp_path / "a.bin", headers=secret)
            assert CANARY not in "".join(traceback.format_exception(raised.value)) + raised.value.fix
    server.files["a.bin"].breaks = [400_000, 0, 0, 0, 0, 0, 0]
    with pytest.raises(TrackyardError):
        download(server.url(f"/file/a.bin?x={CANARY}"), tmp_path / "a.bin", headers=secret)
    sidecar = tmp_path / ".partial-a.bin.json"
    assert CANARY not in sidecar.read_text()
    assert json.loads(sidecar.read_text())["etag"] == '"v1"'


def test_too_little_room_is_said_before_the_first_byte(
    server: HostileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partial_module, "room", lambda path: Room(device=0, free_bytes=500_000, free_inodes=None))
    arrived: list[int] = []
    for expected in (None, len(BODY)):
        with pytest.raises(EnvironmentLacking, match=r"needs 0\.001 GB more"):
            download(server.url("/file/a.bin"), tmp_path / "a.bin", expected_bytes=expected, on_bytes=arrived.append)
    assert arrived == []
    assert len(server.seen) == 1, "with a known size not even a request is made"


CHILD = """
import resource, sys
from pathlib import Path
from trackyard.acquire.web.addresses import AddressPolicy
from trackyard.acquire.web.download import download_file
from trackyard.errors import EnvironmentLacking
url, target, sha256, most = sys.argv[1:]
if int(most):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(most), int(most)))
print("start", flush=True)
try:
    download_file(url, Path(target), expected_bytes=None, sha256=sha256, policy=AddressPolicy.parse(("127.0.0.0/8",)))
except EnvironmentLacking as error:
    print(error.what)
    raise SystemExit(3)
"""


def child(server: HostileServer, target: Path, most: int = 0) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", CHILD, server.url("/file/a.bin"), str(target), SHA256, str(most)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


def test_a_full_disk_leaves_what_can_be_continued(server: HostileServer, tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    with child(server, target, most=300_000) as process:
        said, _ = process.communicate(timeout=20)
    assert process.returncode == 3
    assert "cannot be written: File too large" in said
    assert not target.exists()
    assert download(server.url("/file/a.bin"), target).resumed_from == 300_000
    assert target.read_bytes() == BODY


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_kills_at_any_time_then_complete(server: HostileServer, tmp_path: Path, number: signal.Signals) -> None:
    """The download takes half a second; each process is killed within it, and what arrived before is not lost."""
    server.files["a.bin"].bytes_per_s = 2_000_000
    target = tmp_path / "a.bin"
    rng = random.Random(int(number))
    sizes = []
    for _ in range(4):
        with child(server, target) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(rng.uniform(0.0, 0.3))
            process.send_signal(number)
            process.wait(10)
        left = tmp_path / ".partial-a.bin"
        sizes.append(left.stat().st_size if left.exists() else 0)
        if target.exists():
            break
    assert sizes[:-1] == sorted(sizes[:-1]), "no kill loses what earlier ones left"
    server.files["a.bin"].bytes_per_s = None
    download(server.url("/file/a.bin"), target)
    assert target.read_bytes() == BODY
    assert names(tmp_path) == ["a.bin"]


def test_two_at_once_do_not_mix(server: HostileServer, tmp_path: Path) -> None:
    server.files["a.bin"].bytes_per_s = 500_000
    target = tmp_path / "a.bin"
    first = threading.Thread(target=download, args=(server.url("/file/a.bin"), target))
    first.start()
    while not server.seen:
        time.sleep(0.01)
    with pytest.raises(TrackyardError, match=f"is in use by process {os.getpid()}"):
        download(server.url("/file/a.bin"), target)
    first.join(60)
    assert target.read_bytes() == BODY


def test_a_link_in_the_place_of_the_partial_file_is_not_followed(server: HostileServer, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / ".partial-a.bin").symlink_to(victim)
    with pytest.raises(EnvironmentLacking, match="cannot be written"):
        download(server.url("/file/a.bin"), tmp_path / "a.bin")
    assert victim.read_text() == "mine"


def test_an_unknown_host_ends_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lookup(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    with pytest.raises(TrackyardError, match="dns"):
        download("http://nowhere.example/a", tmp_path / "a.bin", limits=limits(backoff_s=60))
