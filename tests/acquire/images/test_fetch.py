"""Lists of URLs against a server that is broken in every way: one outcome each, stopped and resumed, tried again."""

from __future__ import annotations

import io
import json
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from tests.loopback.images import CAUSES, MAX_BYTES, ROOT, ImageServer, image_server, jpeg, sha256
from tests.processes import all_end, descendants
from trackyard.acquire.images.fetch import (
    ImagesReport,
    Lost,
    Progress,
    StoredImage,
    UrlImageParameters,
    UrlImages,
    UrlRow,
    fetch_images,
)
from trackyard.acquire.images.outcomes import AcceptanceError, Ledger, ledger
from trackyard.acquire.web.addresses import AddressPolicy
from trackyard.acquire.web.http import FetchLimits
from trackyard.errors import ConfigError, DataError, TrackyardError

LOOPBACK = AddressPolicy.parse(("127.0.0.0/8",))
LIMITS = FetchLimits(
    connect_s=4.0, stall_s=4.0, total_s=5.0, max_bytes=MAX_BYTES, retries=1, backoff_s=0.05, per_host=256
)
PARAMETERS = UrlImageParameters(limits=LIMITS, urls_per_shard=16, workers=1, acceptance=(0.01, 1.0))


@pytest.fixture(scope="module")
def shared_server() -> Iterator[ImageServer]:
    with image_server() as server:
        yield server


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "cats" / "images"


def fetch(rows: list[UrlRow], directory: Path, **options: object) -> ImagesReport:
    parameters = PARAMETERS.model_copy(update=options.pop("update", {}))
    return fetch_images(rows, directory, parameters=parameters, policy=LOOPBACK, **options)


def good(server: ImageServer, count: int, first: int = 0) -> list[UrlRow]:
    return [UrlRow(server.url(f"/ok/{number}")) for number in range(first, first + count)]


def test_every_way_of_failing_has_its_cause(shared_server: ImageServer, directory: Path) -> None:
    broken = {shared_server.url(f"/{kind}/7"): cause for kind, cause in CAUSES.items()} | {
        "file:///etc/passwd": "bad_url",
        "http://10.0.0.1/": "blocked_address",
        "not a url": "bad_url",
        "http://name.invalid/": "dns",
    }
    rows = [*map(UrlRow, broken), *good(shared_server, 20)]
    wrong = UrlRow(shared_server.url("/ok/900"), "0" * 64)
    right = UrlRow(shared_server.url("/ok/901"), sha256(jpeg(901)).upper())
    copy = UrlRow(shared_server.url("/copy/3"))
    report = fetch([*rows, wrong, right, copy, rows[-1]], directory)
    expected = Counter([*broken.values(), "hash_mismatch", "duplicate"])
    assert report.counts == {"ok": 21, **expected}
    assert report.attempted == len(rows) + 3
    assert report.repeated == 1
    images = UrlImages.open(directory)
    for url, cause in broken.items():
        assert images.find(url) == Lost(cause), url
    assert images.find(wrong.url) == Lost("hash_mismatch")
    for number in (*range(20), 901):
        found = images.find(shared_server.url(f"/ok/{number}"))
        assert isinstance(found, StoredImage)
        assert found.bytes == jpeg(number)
        assert (found.width, found.height) == (48, 40)
        assert found.sha256 == sha256(jpeg(number))
    assert images.find(copy.url) == images.find(shared_server.url("/ok/3"))
    assert len(images) == 22
    assert images.verify().ok
    with pytest.raises(DataError, match="is not in the list"):
        images.find("http://example.org/")


def test_no_request_leads_to_a_private_address(shared_server: ImageServer, directory: Path) -> None:
    """Negative control of the policy: without an exception even the server of these tests is refused."""
    rows = good(shared_server, 3)
    with pytest.raises(AcceptanceError, match="blocked_address"):
        fetch_images(rows, directory, parameters=PARAMETERS)


def test_a_second_run_fetches_nothing(shared_server: ImageServer, directory: Path) -> None:
    rows = [*good(shared_server, 40, 100), UrlRow(shared_server.url("/404/100"))]
    first = fetch(rows, directory)
    before = shared_server.counts()
    assert fetch(rows, directory) == first
    assert shared_server.counts() - before == {}
    assert ledger(directory).complete


def test_only_what_may_be_cured_is_tried_again(directory: Path) -> None:
    with image_server() as server:
        flaky = [UrlRow(server.url(f"/flaky/{number}")) for number in range(20)]
        kinds = ("404", "410", "500", "small", "noai")
        rows = [*flaky, *good(server, 20, 100), *(UrlRow(server.url(f"/{kind}/1")) for kind in kinds)]
        rows.append(UrlRow(server.url("/ok/5"), "0" * 64))
        first = fetch(rows, directory)
        assert first.counts == {
            "ok": 20, "http_404": 21, "http_410": 1, "http_5xx": 1, "too_small": 1, "opt_out": 1, "hash_mismatch": 1,
        }  # fmt: skip
        assert UrlImages.open(directory).find(flaky[0].url) == Lost("http_404")
        before = server.counts()
        again = fetch(rows, directory, retry_failed=True)
        asked = server.counts() - before
        assert set(asked) == {*(f"/flaky/{number}" for number in range(20)), "/404/1", "/500/1"}
        assert again.counts == first.counts
        server.heal()
        seen: list[Progress] = []
        cured = fetch(rows, directory, retry_failed=True, progress=seen.append)
        assert cured.counts["ok"] == 40
        assert cured.counts["http_404"] == 1
        assert (seen[-1].phase, seen[-1].total, seen[-1].done, seen[-1].ok) == ("retry", 22, 22, 20)
        images = UrlImages.open(directory)
        for number in range(20):
            found = images.find(flaky[number].url)
            assert isinstance(found, StoredImage)
            assert found.bytes == jpeg(number)
        assert ledger(directory).attempted == len(rows)
        assert sorted(path.name for path in directory.glob("part-00000.retry-*.json")) == [
            "part-00000.retry-01.json", "part-00000.retry-02.json",
        ]  # fmt: skip
        assert not list(directory.glob("part-00002.retry-03*"))


def test_another_list_or_other_rules_are_refused(shared_server: ImageServer, directory: Path) -> None:
    rows = good(shared_server, 3)
    fetch(rows, directory)
    with pytest.raises(ConfigError, match="another list"):
        fetch(rows[:2], directory)
    with pytest.raises(ConfigError, match="another list"):
        fetch([UrlRow(rows[0].url, "0" * 64), *rows[1:]], directory)
    with pytest.raises(ConfigError, match="max_side=None, now 64"):
        fetch(rows, directory, update={"max_side": 64})
    with pytest.raises(DataError, match="holds no URL"):
        fetch([], directory.parent / "empty")


def test_long_sides_are_scaled_and_short_ones_keep_their_bytes(shared_server: ImageServer, directory: Path) -> None:
    rows = good(shared_server, 2)
    fetch(rows, directory, update={"max_side": 40, "min_side": 30})
    found = UrlImages.open(directory).find(rows[1].url)
    assert isinstance(found, StoredImage)
    assert (found.width, found.height) == (40, 33)
    assert found.sha256 == sha256(jpeg(1))
    with Image.open(io.BytesIO(found.bytes)) as image:
        assert image.size == (40, 33)


def test_a_dead_list_stops_with_the_histogram_and_the_command(shared_server: ImageServer, directory: Path) -> None:
    rows = [UrlRow(shared_server.url(f"/404/{number}")) for number in range(700)]
    with pytest.raises(AcceptanceError) as caught:
        fetch(rows, directory, update={"urls_per_shard": 4096})
    assert "acceptance 0.0% after 5" in caught.value.what
    assert "100.00%  http_404" in caught.value.why
    assert caught.value.fix.endswith("trackyard data fetch cats --retry-failed")
    assert not list(directory.glob("part-*"))


def test_one_cause_of_most_failures_stops(shared_server: ImageServer, directory: Path) -> None:
    rows = good(shared_server, 200) + [UrlRow(shared_server.url(f"/404/{number}")) for number in range(560)]
    with pytest.raises(AcceptanceError, match="failures have one cause, http_404"):
        fetch(rows, directory, update={"urls_per_shard": 256})


def test_a_short_list_is_judged_at_its_end(shared_server: ImageServer, directory: Path) -> None:
    rows = [*good(shared_server, 2), *(UrlRow(shared_server.url(f"/404/{number}")) for number in range(8))]
    with pytest.raises(AcceptanceError, match=r"20\.0% after 10 rows, all there are, is below 35%"):
        fetch(rows, directory, update={"acceptance": (0.35, 0.98)})
    assert ledger(directory).complete


def test_a_directory_has_one_writer(shared_server: ImageServer, directory: Path) -> None:
    from trackyard.acquire.images.fetch import LOCK
    from trackyard.exclusive import exclusive

    with (
        exclusive(directory / LOCK, what="it", why="of this test"),
        pytest.raises(TrackyardError, match="is in use by process"),
    ):
        fetch(good(shared_server, 1), directory)


def test_a_damaged_shard_is_found_named_and_brought_back(shared_server: ImageServer, directory: Path) -> None:
    rows = good(shared_server, 40, 500)
    rows.append(UrlRow(shared_server.url("/copy/520")))
    first = fetch(rows, directory)
    path = directory / "part-00001.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:2000] + bytes([whole[2000] ^ 1]) + whole[2001:])
    found = UrlImages.open(directory).verify()
    assert len(found.problems) == 1
    assert "part-00001.parquet has other bytes" in found.problems[0]
    command = found.problems[0].split("fix:  rm ")[1]
    names = command.split(";")[0].split()
    assert command.endswith("then: trackyard data fetch cats")
    assert [Path(name).name for name in names] == [
        "part-00001.parquet", "part-00001.outcomes.parquet", "part-00001.json",
    ]  # fmt: skip
    for name in names:
        Path(name).unlink()
    with pytest.raises(DataError, match="25 of 41 URLs have an outcome"):
        UrlImages.open(directory)
    before = shared_server.counts()
    assert fetch(rows, directory).counts == first.counts
    assert sum((shared_server.counts() - before).values()) == 16
    assert UrlImages.open(directory).verify().ok
    assert path.read_bytes() == whole


def test_a_duplicate_of_what_is_gone_is_tried_again(shared_server: ImageServer, directory: Path) -> None:
    rows = [*good(shared_server, 32, 540), UrlRow(shared_server.url("/copy/560"))]
    assert fetch(rows, directory).counts == {"ok": 32, "duplicate": 1}
    for path in directory.glob("part-00001.*"):
        path.unlink()
    tight = PARAMETERS.limits.model_copy(update={"max_bytes": 10})
    assert fetch(rows, directory, update={"limits": tight}).counts == {"ok": 16, "too_large": 16, "duplicate": 1}
    assert UrlImages.open(directory).find(rows[-1].url) == Lost("duplicate")
    before = shared_server.counts()
    assert fetch(rows, directory, retry_failed=True).counts == {"ok": 17, "too_large": 16}
    assert shared_server.counts() - before == {"/copy/560": 1}
    found = UrlImages.open(directory).find(rows[-1].url)
    assert isinstance(found, StoredImage)
    assert found.bytes == jpeg(560)


def test_a_flipped_bit_is_an_error_and_never_an_image(shared_server: ImageServer, directory: Path) -> None:
    rows = good(shared_server, 8, 600)
    fetch(rows, directory)
    path = directory / "part-00000.parquet"
    data = bytearray(path.read_bytes())
    at = bytes(data).index(jpeg(604)) + 300
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="images cannot be read"):
        UrlImages.open(directory).find(rows[4].url)


def test_a_cut_or_absent_file_makes_its_shard_unfinished(shared_server: ImageServer, directory: Path) -> None:
    rows = good(shared_server, 40, 700)
    fetch(rows, directory)
    whole = (directory / "part-00001.parquet").read_bytes()
    (directory / "part-00001.parquet").write_bytes(whole[:-1])
    assert not ledger(directory).complete
    assert fetch(rows, directory).ok == 40
    assert (directory / "part-00001.parquet").read_bytes() == whole


def test_counts_that_do_not_add_up_stop_everything(shared_server: ImageServer, directory: Path) -> None:
    rows = good(shared_server, 4, 800)
    fetch(rows, directory)
    path = directory / "part-00000.json"
    body = json.loads(path.read_text())
    path.write_text(json.dumps(body | {"counts": {"ok": 3}}))
    with pytest.raises(DataError, match="4 rows, and 3 outcomes"):
        ledger(directory)
    path.write_text(json.dumps(body | {"shard_counts": {"ok": 4, "http_404": 1}}))
    with pytest.raises(DataError, match="4 rows, and 5 outcomes"):
        fetch(rows, directory)


def test_a_worker_that_dies_ends_the_run_and_names_the_url(
    shared_server: ImageServer, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trackyard.acquire.images import workers as image_workers

    monkeypatch.setattr(image_workers, "_work", _killed)
    with pytest.raises(TrackyardError) as caught:
        fetch(good(shared_server, 3), directory)
    assert "internal_error at http://127.0.0.1" in caught.value.what
    assert "exit code -9" in caught.value.what


def test_a_fault_of_the_program_ends_the_run_with_its_traceback(
    shared_server: ImageServer, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trackyard.acquire.images import workers as image_workers

    monkeypatch.setattr(image_workers, "_work", _faulty)
    with pytest.raises(TrackyardError) as caught:
        fetch(good(shared_server, 3), directory)
    assert "internal_error at http://127.0.0.1" in caught.value.what
    assert "ZeroDivisionError" in caught.value.what
    assert "Traceback" in caught.value.what


def _killed(theirs: object, rules: object, memory_bytes: int) -> None:
    theirs.recv(1)
    import os

    os.kill(os.getpid(), signal.SIGKILL)


def _faulty(theirs: object, rules: dict[str, object], memory_bytes: int) -> None:
    from trackyard.acquire.images import workers as image_workers

    image_workers.check_image = lambda *_, **__: 1 / 0
    image_workers._work(theirs, rules, memory_bytes)


def test_workers_end_with_a_killed_parent(shared_server: ImageServer, directory: Path) -> None:
    rows = [shared_server.url(f"/hang/{number}") for number in range(50)]
    program = (
        "import sys; from pathlib import Path; from tests.acquire.images.test_fetch import *\n"
        "fetch([UrlRow(url) for url in sys.argv[2:]], Path(sys.argv[1]), update={'workers': 2})"
    )
    command = [sys.executable, "-c", program, str(directory), *rows]
    with subprocess.Popen(command, cwd=ROOT) as process:
        children: list[int] = []
        # The tracker of resources, the fork server and two workers.
        while len(children) < 4:
            assert process.poll() is None
            children = descendants(process.pid)
        process.kill()
    assert all_end(children, within_s=10)


def test_the_digest_in_the_marker_is_that_of_the_rows(shared_server: ImageServer, directory: Path) -> None:
    from trackyard.acquire.images.pinned_list import rows_digest

    rows = good(shared_server, 5)
    fetch(rows, directory)
    marker = json.loads((directory / "part-00000.json").read_text())
    assert marker["schema"] == "trackyard-url-shard/1"
    assert marker["rows"] == [0, 5]
    assert marker["inputs"] == rows_digest(rows)
    assert marker["counts"] == {"ok": 5}


def test_a_name_that_exists_only_here_is_looked_up_here(shared_server: ImageServer, directory: Path) -> None:
    def lookup(host: str, port: int) -> list[tuple[object, ...]]:
        if host != "cats.test":
            raise OSError(f"{host} is not known here")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", shared_server.port))]

    rows = [UrlRow("http://cats.test/ok/2000"), UrlRow("http://dogs.test/ok/2001")]
    report = fetch(rows, directory, lookup=lookup)
    assert report.counts == {"ok": 1, "dns": 1}
    with pytest.raises(AcceptanceError, match="blocked_address"):
        fetch_images(rows[:1], directory.parent / "other", parameters=PARAMETERS, lookup=lookup)


def test_faces_are_blurred_on_their_way_to_the_disk(shared_server: ImageServer, directory: Path) -> None:
    rows = good(shared_server, 3, 2010)
    rows = [rows[0], replace(rows[1], faces=((0.0, 0.0, 0.5, 0.5),)), replace(rows[2], faces=((0.5, 0.5, 0.5, 0.6),))]
    assert fetch(rows, directory).counts == {"ok": 2, "face_box": 1}
    images = UrlImages.open(directory)
    stored = [images.find(row.url) for row in rows[:2]]
    assert [isinstance(found, StoredImage) and found.bytes == jpeg(2010 + k) for k, found in enumerate(stored)] == [
        True, False,
    ]  # fmt: skip
    assert isinstance(stored[1], StoredImage)
    assert stored[1].sha256 == sha256(jpeg(2011))
    with pytest.raises(ConfigError, match="blur_faces=True, now False"):
        fetch(rows, directory, update={"blur_faces": False})


def test_other_bytes_are_kept_where_that_is_asked_for_and_counted_apart(
    shared_server: ImageServer, directory: Path
) -> None:
    rows = good(shared_server, 4, 2020)
    rows[1:3] = [replace(row, sha256="0" * 64) for row in rows[1:3]]
    rows[3] = replace(rows[3], sha256=sha256(jpeg(2023)))
    report = fetch(rows, directory, update={"hash_mismatch": "keep"})
    assert report.counts == {"ok": 4}
    assert report.mismatched == 2
    assert UrlImages.open(directory).verify().ok


def test_losses_are_judged_with_those_of_the_other_parts_of_a_list(shared_server: ImageServer, directory: Path) -> None:
    rows = [*good(shared_server, 2, 2030), UrlRow(shared_server.url("/404/2030"))]
    before = Ledger.of({"ok": 40, "http_404": 60}, total=103)
    command = "trackyard run datacomp download"
    strict = {"acceptance": (0.5, 0.99)}
    with pytest.raises(AcceptanceError, match=r"acceptance 40\.8% after 103 rows") as caught:
        fetch(rows, directory, update=strict, among=before, again=command)
    assert caught.value.fix.endswith(f"network: {command}")
    # The same rows alone are within the band, and so they are as a part of a list that goes on.
    assert fetch(rows, directory, update=strict).ok == 2
    assert fetch(rows, directory, update=strict, among=replace(before, total=1000)).ok == 2


def test_what_is_told_about_a_directory_names_the_command_that_made_it(
    shared_server: ImageServer, directory: Path
) -> None:
    rows = good(shared_server, 2, 2040)
    fetch(rows, directory, again="trackyard run datacomp download")
    (directory / "part-00000.parquet").unlink()
    with pytest.raises(DataError) as caught:
        UrlImages.open(directory)
    assert caught.value.fix == "trackyard run datacomp download"
